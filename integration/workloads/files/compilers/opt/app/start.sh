#!/bin/sh
. "$(dirname "$0")/common.sh"
answer "$1"
