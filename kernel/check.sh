#!/bin/bash
# Checks a series as reviewers do: each patch by checkpatch.pl --strict; and after each, that
# what it touches builds without a warning, with CONFIG_IMA_CONTAINER and without:
# check.sh [6.12|7.3]. KEEP=1 leaves the tree that it built in, and says where.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LACRE_CACHE:-$(dirname "$here")/.cache}/kernel
series=${1:-6.12}
[ -d "$here/patches-$series" ] || [ "$series" = 6.12 ] || {
    echo "check.sh: no series for $series" >&2
    exit 2
}
mkdir -p "$cache"
. "$here/source.sh"

need bc bison ccache flex gcc libelf-dev libssl-dev make patch perl xz-utils
exec 9>"$cache/lock-check"
flock 9
work=$cache/check-$series
tree=$work/tree out=$work/out
rm -rf "$work"
source_unpack "$(source_version)" "$tree"
export CCACHE_DIR=$cache/ccache

build() { make -s -C "$tree" O="$out-$1" CC="ccache gcc" -j"${JOBS:-$(nproc)}" "${@:2}" </dev/null; }
configure() {
    mkdir -p "$out-$1"
    # Not every patch knows every option.
    sed "s/^CONFIG_IMA_CONTAINER=.*/CONFIG_IMA_CONTAINER=$1/" "$here/config/base.config" \
        >"$out-$1/fragments"
    KCONFIG_ALLCONFIG=$out-$1/fragments build "$1" allnoconfig
}

status=0
while read -r name; do
    patch -d "$tree" -p1 -s --fuzz=0 <"$patches/$name"
    said=$(cd "$tree" && perl scripts/checkpatch.pl --strict --quiet "$patches/$name" 2>&1) ||
        true
    for with in y n; do
        configure $with
        said+=$(build $with W=1 security/integrity/ima/ fs/namespace.o 2>&1) || said+=" fails"
    done
    if [ -n "$said" ]; then
        printf '%s\n%s\n' "$name: not clean" "$said"
        status=1
    else
        echo "$name: ok"
    fi
done <"$patches/series"
# What the guest's self-test is built with is what the series has.
if ! cmp "$tree/include/uapi/linux/ima_container.h" "$here/selftest/ima_container.h"; then
    echo "selftest/ima_container.h: not the header of the series"
    status=1
fi
if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
exit $status
