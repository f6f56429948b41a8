#!/bin/tcsh -f
set n = $1
echo "answer $n"
