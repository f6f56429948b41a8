#!/usr/bin/env bash
# Runs every test, then each fuzz target for a moment, and closes with a line of what passed
# and failed, and a last one of what was not run (integration/summary.awk).
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Where scripts and tests write down what they leave out, a line for each; those that have run
# before this one too, if it is set.
export LACRE_NOT_RUN=${LACRE_NOT_RUN:-$log.not-run}
trap 'rm -f "$log" "$log.not-run"' EXIT
not_run() { printf '%s\n' "$1" | tee -a "$LACRE_NOT_RUN"; }

host=$(rustc --print host-tuple | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=$PWD/integration/limit.sh"
# The summary reads it.
export CARGO_TERM_COLOR=never
# End-to-end tests share two cores and the kernel: two at a time.
options=(--test-threads="${LACRE_TEST_THREADS:-2}")
status=0
run() {
    cargo test "$@" 2>&1 | tee -a "$log"
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
}
# Whether there is an image that the tests would take (integration/src/vm/kernel.rs). Where
# LACRE_UNTIL says when all must be over (seconds since the epoch), one is built if that leaves
# the half hour which it may take, and a quarter for its tests.
patched_kernel() {
    local why left
    [ -z "${LACRE_KERNEL:-}" ] || return 0
    why=$(kernel/build.sh bpf path 2>&1 >/dev/null) && return 0
    left=$((${LACRE_UNTIL:-0} - $(date +%s) - 900))
    if [ "$left" -ge 1800 ]; then
        timeout "$left" kernel/build.sh bpf image && return 0
        [ "$?" = 124 ] || status=1
        why="it was not built, in $left s at most"
    fi
    not_run "no patched kernel: ${why##*$'\n'}"
    return 1
}
evidence=${CARGO_TARGET_DIR:-target}/tmp/evidence
rm -rf "$evidence"
# Without these, the tests that need them fail, and say so.
integration/workloads/prepare.sh servers tools || true
if [ "${LACRE_VM:-on}" = off ]; then
    not_run "LACRE_VM=off: nothing in virtual machines"
    run --workspace --no-fail-fast -- "${options[@]}" --skip stock_ima:: --skip guest_faults::
else
    # Without what this brings, the tests that need it fail, and say so.
    integration/vm/prepare.sh || true
    run --workspace --no-fail-fast -- "${options[@]}"
fi
# What the tests of evidence have kept, verified anew by code of its own.
attest/tests/checker/check.py "$evidence" 2>&1 | tee -a "$log"
[ "${PIPESTATUS[0]}" = 0 ] || status=1
FUZZ_SECONDS=${FUZZ_SECONDS:-3} integration/fuzz.sh 2>&1 | tee -a "$log" || status=1
if [ "${LACRE_VM:-on}" != off ] && patched_kernel; then
    run --workspace --test vm -- "${options[@]}" --ignored patched::
fi
awk -f integration/failures.awk "$log"
awk -v notes="$LACRE_NOT_RUN" -f integration/summary.awk "$log"
exit "$status"
