#!/usr/bin/env bash
# What takes longer than `make test` may: soak.sh [PART...], each for at most SOAK_MINUTES
# (50). Without a part it lists them. Each writes date, commit, machine and figures to
# target/soak/PART.md, and all that was said to PART.log beside it.
#
# A part is a function part_NAME; what comes after ## says what it is. It fails where one of
# its commands does; its figures are the lines that they print with `figure: ` in front.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}/soak
minutes=${SOAK_MINUTES:-50}

# === parts ===

part_storm() { ## containers by the hundred, twenty at a time, with deaths at every stage
    rounds all --test storm
}

part_fault_storm() { ## 500 containers that attack, while daemon and shims are killed and stopped
    LACRE_STORM=${LACRE_STORM:-500} rounds 1 --test fault_storm -- --nocapture
}

part_flood() { ## one container that is refused as fast as it can be, for most of an hour
    LACRE_FLOOD=${LACRE_FLOOD:-2900} rounds 1 --test record_disk -- --nocapture flood
}

part_stalled_disk() { ## the record disk stands still for half a minute, ten times
    LACRE_STALL=${LACRE_STALL:-30} rounds 10 --test record_disk -- --nocapture disk_that
}

part_races() { ## 50,000 tries of each race for a file that was verified, in both block modes
    LACRE_RACES=${LACRE_RACES:-50000} races
}

part_judged_once() { ## what a shim that died had not judged, under stock IMA, beside a load
    integration/vm/prepare.sh || return
    beside_load rounds 20 --test vm -- stock_ima::what_a_shim_that_dies_has_not_judged_is_judged_once
}

part_under_load() { ## every end-to-end test beside a load, once
    integration/vm/prepare.sh || return
    local status=0
    beside_load rounds 1 -p lacre-containerd -p lacre-executor -p lacre-measure \
        -p containerd-shim-lacre-v1 --no-fail-fast || status=1
    beside_load rounds 1 -p lacre-integration --tests --no-fail-fast || status=1
    return "$status"
}

part_rust_shim() { ## the end-to-end tests of 2.x over containerd's shim in Rust, and that one bare
    integration/inner-shims.sh rust || return
    LACRE_TEST_INNER=${LACRE_CACHE:-$PWD/.cache}/rust-shim/bin/containerd-shim-runc-v2-rs \
        rounds 1 --no-fail-fast --test scenario --test pods --test faults --test groups \
        --test actions --test identity --test owner --test storm --test task_calls \
        --test task_options --test late_policy -- --nocapture 2_1
}

part_workloads_servers() { ## real servers at work, a minute each, in every mode
    workloads servers
}

part_workloads_languages() { ## real interpreters, likewise
    workloads languages
}

part_workloads_runtimes() { ## Java, Mono and Go, likewise
    workloads runtimes
}

part_workloads_tools() { ## compilers, packages, archives, users and first processes, likewise
    workloads tools
}

part_workloads_daemons() { ## servers of mail, names and pages, schedulers and supervisors, likewise
    workloads daemons
}

part_workloads_compilers() { ## more languages and shells, which compile as they run, likewise
    workloads compilers
}

part_workloads_utilities() { ## what traces, wraps, moves and unpacks programs, likewise
    workloads utilities
}

part_layers() { ## layers of random tars, read as containerd unpacks them, and bugs that it finds
    local record=$out/layers.cases
    rm -rf "$record"
    export LACRE_LAYERS_SEED=${LACRE_LAYERS_SEED:-$(date +%s)}
    LACRE_LAYERS_SECONDS=${LACRE_LAYERS_SECONDS:-720} rounds 1 --test layers -- --nocapture || return
    LACRE_LAYERS=2500 LACRE_LAYERS_RECORD=$(realpath -m "$record") \
        rounds 1 --test layers -- --nocapture as_containerd_2_1 || return
    integration/layer_bugs.py "$record"
}

# === what they are made of ===

# workloads IMAGE: all of that image; a figure for each run.
workloads() {
    integration/workloads/prepare.sh "$1" || return
    rounds 1 --test workloads -- --ignored --nocapture "all_$1"
}

# Each race by twenty processes at once, since most of a try is waiting; a figure of each race.
races() {
    local program log status=0 at_once=20 each running=() one
    program=$(cargo test --workspace --test races --no-run --message-format=json |
        sed -nE 's/.*"executable":"([^"]*\/races-[^"]*)".*/\1/p' | tail -n 1)
    [ -n "$program" ] || return
    each=$((LACRE_RACES / at_once))
    log=$(mktemp)
    for _ in $(seq "$at_once"); do
        (cd measure && LACRE_RACES=$each exec "$program" --nocapture --test-threads=1 \
            a_writer_that a_program_that_is a_library_that_is on_a_tmpfs) >>"$log" 2>&1 &
        running+=($!)
    done
    for one in "${running[@]}"; do wait "$one" || status=1; done
    cat "$log"
    sed -nE 's/.*\.\.\. ([a-z].*\(ran changed.*)/\1/; s/^([a-z-]+ \/[^ ]+ (Exec|All)): ([0-9]+) ([0-9]+) ([0-9]+) .*/\1 \3 \4 \5/p' "$log" |
        awk '{ of = $1 " " $2 " " $3; tries[of] += $4 + $5 + $6; changed[of] += $4; came[of] += $5 }
            END { for (of in tries) printf "figure: %s: %d tries, %d ran changed, %d as it came\n",
                of, tries[of], changed[of], came[of] }' | sort
    rm -f "$log"
    return "$status"
}

# rounds COUNT|all ARGUMENT...: `cargo test` of the end-to-end tests with these, one test at a
# time, COUNT times or as long as there is time; a figure of how many rounds and tests passed.
rounds() {
    local count=$1 round=0 good=0 log arguments=(); shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do arguments+=("$1"); shift; done
    [ $# = 0 ] || shift
    [[ " ${arguments[*]} " == *" -p "* ]] || arguments=(--workspace "${arguments[@]}")
    log=$(mktemp)
    while [ "$count" = all ] || [ "$round" -lt "$count" ]; do
        [ "$SECONDS" -lt $((minutes * 60)) ] || break
        round=$((round + 1))
        cargo test "${arguments[@]}" -- --test-threads=1 "$@" 2>&1 | tee -a "$log"
        [ "${PIPESTATUS[0]}" != 0 ] || good=$((good + 1))
    done
    echo "figure: cargo test ${arguments[*]} $*: $good of $round rounds green, $(
        awk -f integration/summary.awk "$log" | head -n 1)"
    grep -E '^test .* FAILED$' "$log" | sort | uniq -c | sed 's/^ */figure: times failed: /'
    rm -f "$log"
    [ "$good" = "$round" ] && [ "$round" -gt 0 ]
}

# Runs a command beside four processes that do nothing but spin.
beside_load() {
    local spinning=() status=0 _
    for _ in 1 2 3 4; do
        # Without the log: it would not end before they do.
        (exec >/dev/null 2>&1; while :; do :; done) &
        spinning+=($!)
    done
    "$@" || status=$?
    kill "${spinning[@]}"
    return "$status"
}

# === running them ===

parts() { declare -F | sed -n 's/^declare -f part_//p'; }

list() {
    echo "make soak PART=NAME, where NAME is one of:"
    sed -nE 's/^part_([a-z_]+)\(\) \{ ## (.*)$/\1\t\2/p' integration/soak.sh |
        awk -F '\t' '{ printf "  %-20s %s\n", $1, $2 }'
}

run_part() {
    local part=$1 log=$out/$1.log page=$out/$1.md status
    mkdir -p "$out"
    {
        echo "# soak: $part"
        echo
        echo "- began: $(date -u '+%F %T') (UTC)"
        echo "- commit: ${LACRE_COMMIT:-$(git describe --always --dirty --abbrev=12)}"
        echo "- machine: $(nproc) processors, Linux $(uname -r)"
    } >"$page"
    # With all that it started, if it outlasts its time: what it says then is that it failed.
    timeout --kill-after=30 $((minutes * 60 + 600)) integration/soak.sh --part "$part" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    {
        echo "- took: $SECONDS s of $((minutes * 60))"
        case $status in
        0) echo "- result: passed" ;;
        124 | 137) echo "- result: FAILED: it did not end in time" ;;
        *) echo "- result: FAILED" ;;
        esac
        sed -n 's/^figure: /- /p' "$log"
    } >>"$page"
    cat "$page"
    return "$status"
}

if [ "${1:-}" = --part ]; then
    "part_$2"
    exit
fi
[ $# -gt 0 ] || { list; exit 1; }
status=0
for part in "$@"; do
    parts | grep -qx "$part" || { list; exit 1; }
    SECONDS=0
    run_part "$part" || status=1
done
exit "$status"
