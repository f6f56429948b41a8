#!/usr/bin/env bash
# Runs every test, then each fuzz target for a moment, and closes with one line of what
# passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
host=$(rustc --print host-tuple | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=$PWD/integration/limit.sh"
# End-to-end tests share two cores and the kernel: two at a time.
cargo test --workspace --no-fail-fast -- --test-threads="${LACRE_TEST_THREADS:-2}" 2>&1 \
    | tee "$log" || status=1
FUZZ_SECONDS=${FUZZ_SECONDS:-3} integration/fuzz.sh 2>&1 | tee -a "$log" || status=1
awk '/^test result:/ { passed += $4; failed += $6 }
     /^fuzz .* \.\.\. ok/ { passed++ }
     /^fuzz .* \.\.\. FAILED/ || /^test binary .* TIMED OUT/ { failed++ }
     END { printf "%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
