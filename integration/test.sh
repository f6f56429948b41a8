#!/usr/bin/env bash
# Runs every test, then each fuzz target for a moment, and closes with one line of what
# passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
host=$(rustc --print host-tuple | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=$PWD/integration/limit.sh"
# End-to-end tests share two cores and the kernel: two at a time.
options=(--test-threads="${LACRE_TEST_THREADS:-2}")
status=0
run() {
    cargo test "$@" 2>&1 | tee -a "$log"
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
}
# Whether there is an image that the tests would take (integration/src/vm/kernel.rs).
patched_kernel() {
    local why
    [ -n "${LACRE_KERNEL:-}" ] || why=$(kernel/build.sh bpf path 2>&1 >/dev/null) || {
        echo "the patched kernel's tests are not run: $why"
        return 1
    }
}
if [ "${LACRE_VM:-on}" = off ]; then
    echo "LACRE_VM=off: nothing is tested in virtual machines"
    run --workspace --no-fail-fast -- "${options[@]}" --skip stock_ima:: --skip guest_faults::
else
    # Without what this brings, the tests that need it fail, and say so.
    integration/vm/prepare.sh || true
    run --workspace --no-fail-fast -- "${options[@]}"
    if patched_kernel; then
        run -p lacre-integration --test vm -- "${options[@]}" --ignored patched::
    fi
fi
FUZZ_SECONDS=${FUZZ_SECONDS:-3} integration/fuzz.sh 2>&1 | tee -a "$log" || status=1
awk '/^test result:/ { passed += $4; failed += $6 }
     /^fuzz .* \.\.\. ok/ { passed++ }
     /^fuzz .* \.\.\. FAILED/ || /^test binary .* TIMED OUT/ { failed++ }
     END { printf "%d passed, %d failed\n", passed, failed }' "$log"
exit "$status"
