#!/usr/bin/env bash
# cargo's runner for the tests: what hangs is ended with all that it started, and named.
set -um
limit=${LACRE_TEST_LIMIT:-900}
# Ten minutes past the time when all is to be over, nothing more begins: the run names what is
# missing, and closes, before who set that time ends it without a word.
if [ -n "${LACRE_UNTIL:-}" ]; then
    left=$((LACRE_UNTIL + 600 - $(date +%s)))
    [ "$left" -ge "$limit" ] || limit=$((left > 1 ? left : 1))
fi
timeout --kill-after=10 "$limit" "$@" &
group=$!
# It has a process group of its own, which the terminal's Ctrl-C does not reach.
trap 'kill %1' INT TERM HUP
wait %1
status=$?
# What a test that failed has left would hold the log open.
kill -KILL -- "-$group" 2>/dev/null
if [ "$status" -ge 124 ] && [ "$SECONDS" -ge "$limit" ]; then
    echo "test binary $1 ... TIMED OUT after $limit s" >&2
    exit 124
fi
exit "$status"
