#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\ncgi %s\n' "$QUERY_STRING"
