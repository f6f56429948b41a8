#!/bin/sh
while read -r line; do echo "logged $line" >>/scratch/program.log; done
