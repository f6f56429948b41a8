#!/bin/sh
set -e
export ENTRYPOINT=ran
exec "$@"
