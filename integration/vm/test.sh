#!/usr/bin/env bash
# Runs the tests in virtual machines, on every kernel: test.sh [WORD...], where a WORD is a
# part of the tests' names (stock_ima, stock_bpf, patched, figures, guest_faults). With
# FLAVOUR=debug, those of the source container-ima under KASAN, kmemleak and lockdep; that
# kernel has no BTF, and so none of the sources that stand beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."

integration/vm/prepare.sh
# The image of these very patches, built if it is not in the cache.
if [ -z "${LACRE_KERNEL:-}" ] && [[ " ${*:-patched} " == *" patched"* ]]; then
    LACRE_KERNEL=$(kernel/build.sh "${FLAVOUR:-bpf}" image)
    export LACRE_KERNEL
fi
if [ "${FLAVOUR:-bpf}" = debug ]; then
    set -- container_ima::patched --skip beside_others
    # One after the other: the last looks at what all have left.
    LACRE_TEST_THREADS=1
fi
# A guest has one processor, and its tests wait for each other: with these many, those of two
# kernels run at once.
cargo test --workspace --test vm -- \
    --include-ignored --test-threads="${LACRE_TEST_THREADS:-8}" "$@"
