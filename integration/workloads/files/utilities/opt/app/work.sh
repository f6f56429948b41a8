#!/bin/sh
# The work of the test; the container ends with it, as its status says.
bash -c "$WORK" >/said/said 2>&1
echo $? >/said/status
kill -QUIT 1
