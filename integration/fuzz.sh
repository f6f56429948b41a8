#!/usr/bin/env bash
# Fuzzes each target of fuzz/ for FUZZ_SECONDS (default 60), or those that are named.
# Needs neither nightly Rust nor cargo-fuzz. Prints a line per target, and of each that
# failed where its input lies and how to run it again.
set -uo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${FUZZ_SECONDS:-60}
# Flags from outside would take the place of those that give coverage.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS
# libFuzzer is C++; clang is there for the BPF programs, g++ perhaps not.
command -v c++ >/dev/null || export CXX=clang++
if ! cargo build --quiet --release --target-dir target; then
    echo "fuzz build ... FAILED"
    exit 1
fi
bin=target/$(rustc --print host-tuple)/release

fuzz_one() {
    local name=$1 log status input
    local found=target/found/$name artifacts=artifacts/$name
    mkdir -p "$found" "$artifacts"
    log=$(mktemp)
    # -timeout: seconds for one input; the slowest takes some milliseconds.
    # What is found goes to the first folder; the seeds in the second stay as they are.
    "$bin/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=16384 \
        -print_final_stats=1 -artifact_prefix="$artifacts/" "$found" "corpus/$name" \
        >"$log" 2>&1
    status=$?
    if [ "$status" = 0 ]; then
        printf 'fuzz %s ... ok (%s inputs)\n' "$name" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    else
        # By way of cat: in one piece, whatever runs beside it.
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        {
            grep -aE '^thread|panicked|ERROR:|^  (left|right):' "$log" || tail -n 20 "$log"
            printf 'fuzz %s ... FAILED\n' "$name"
            if [ -n "$input" ]; then
                printf '  the input is fuzz/%s; to run it again:\n' "$input"
                printf '  (cd fuzz && RUST_BACKTRACE=1 %s %s)\n' "$bin/$name" "$input"
            fi
        } | cat
    fi
    rm -f "$log"
    return "$status"
}
export -f fuzz_one
export seconds bin

if [ $# = 0 ]; then
    set -- $(basename -s .rs fuzz_targets/*.rs)
fi
printf '%s\n' "$@" | xargs -P "${LACRE_TEST_THREADS:-2}" -I '{}' bash -c 'fuzz_one {}'
