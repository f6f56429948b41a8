#!/bin/sh
mkdir -p /scratch && echo sysinit >/scratch/sysinit
