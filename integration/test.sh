#!/usr/bin/env bash
# Runs every test and closes with one line of what passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# End-to-end tests share two cores and the kernel: two at a time.
cargo test --workspace --no-fail-fast -- --test-threads="${LACRE_TEST_THREADS:-2}" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
