#!/bin/sh
printf 'Content-Type: text/plain\n\nsh %s\n' "$QUERY_STRING"
