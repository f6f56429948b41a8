#!/bin/bash
# Boots a kernel under QEMU with a software TPM, runs the self-test in it, and says what
# came of it: run.sh BZIMAGE [LINES [ROUNDS]]. The console goes to standard output.
# A kernel that is named linux is user-mode Linux: no QEMU, no TPM, tmpfs only.
#   TEST=whole|full|kexec|kselftest
#                              everything but what the others need a boot of their own for: an
#                              aggregate that is full, a second kernel, the series' own
#                              kselftest from the folder KSELFTEST (default whole)
#   SMP=PROCESSORS             (default 1)
#   LAYER=ext4|overlay|tmpfs   where the measured files are (default overlay)
#   CONTAINER=on|sync|off      the boot parameter (default on)
#   ICOUNT=1                   the guest's clock counts instructions, one a nanosecond: what
#                              the benchmark prints then does not depend on the machine
#   CHECKERS=1                 fails unless KASAN, kmemleak and lockdep are there, and on to
#                              the end
#   TIMEOUT=SECONDS            for the whole guest (default 900)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernel=${1:?usage: run.sh BZIMAGE [LINES [ROUNDS]]}
lines=${2-100000} rounds=${3-20}
test=${TEST:-whole} layer=${LAYER:-overlay} container=${CONTAINER:-on}

work=$(mktemp -d)
. "$here/tpm.sh"
cleanup() {
    tpm_end
    rm -rf "$work"
}
trap cleanup EXIT

make -s -C "$here" OUT="$work"
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys}
cp "$work/ima_container_test" "$work/tiny" "$here/policy" "$here/init" "$root/"
cp "$(command -v busybox)" "$root/bin/"
pack() { (cd "$root" && find . | cpio --quiet -o -H newc | gzip -1); }
pack >"$work/initrd.gz"
case $test in
whole) what=$lines,$rounds ;;
kselftest)
    what=kselftest
    cp -r "${KSELFTEST:?is the folder that build.sh kselftest prints}" "$root/kselftest"
    pack >"$work/initrd.gz"
    ;;
full) what=full APPEND="${APPEND:-} ima.container_events_max=40" ;;
kexec)
    what=kexec
    mkdir "$root/next"
    cp "$kernel" "$root/next/kernel"
    mv "$work/initrd.gz" "$root/next/initrd.gz"
    pack >"$work/initrd.gz"
    ;;
*) echo "run.sh: no such test: $test" >&2; exit 2 ;;
esac
arguments="rdinit=/init ${QUIET-quiet loglevel=2} panic=-1 ima_template=ima-ng ima_hash=sha256 ima_container=$container"
arguments+=" selftest_args=$what selftest_layer=$layer ${APPEND:-}"

qemu() {
    # On a busy machine the guest calibrates its TSC by a timer that is late, and its clock
    # then runs ahead by minutes.
    [ -n "${ICOUNT:-}" ] || arguments+=" tsc=unstable"
    truncate -s 512M "$work/disk"
    mkfs.ext4 -q -F -I 256 "$work/disk"
    tpm_start
    # Not pc: what its ACPI has the kernel interpret takes KASAN half a minute a device.
    machine=(qemu-system-x86_64 -machine q35 -accel tcg -cpu "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"
        -smp "${SMP:-1}" -m 1536 -nodefaults -no-reboot -nographic -serial stdio
        -kernel "$kernel" -initrd "$work/initrd.gz" -append "console=ttyS0 $arguments"
        "${tpm_device[@]}"
        -drive "file=$work/disk,format=raw,if=none,id=d" -device virtio-blk-pci,drive=d
        ${ICOUNT:+-icount shift=0}
        -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng)
}

user_mode() {
    mkdir "$work/tmp"
    machine=(env "TMPDIR=$work/tmp" "$kernel" mem=1G "initrd=$work/initrd.gz"
        con=null con0=null,fd:1 ssl=null $arguments)
}

if [ "$(basename "$kernel")" = linux ]; then user_mode; else qemu; fi
status=0
timeout "${TIMEOUT:-900}" "${machine[@]}" </dev/null | tee "$work/console" | tpm_obey || status=$?

[ $status = 0 ] || { echo "selftest: the guest did not end by itself ($status)" >&2; exit 1; }
grep -q '^selftest done' "$work/console" || { echo "selftest: the guest died" >&2; exit 1; }
if grep -q '^selftest kernel' "$work/console"; then
    echo "selftest: the kernel complained" >&2
    exit 1
fi
if [ -n "${CHECKERS:-}" ]; then
    # Each of the last two turns itself off when it runs out of room.
    for said in '^# KASAN is on' '^# kmemleak found nothing' '^# lockdep *debug_locks: *1'; do
        grep -q "$said" "$work/console" || { echo "selftest: not said: $said" >&2; exit 1; }
    done
fi
if [ -n "$tpm" ] && grep -q '^# no TPM' "$work/console"; then
    echo "selftest: the guest saw no TPM" >&2
    exit 1
fi
! grep -q '^not ok' "$work/console" || exit 1
# What a kselftest lacks it skips. User-mode Linux lacks a memory controller.
if [ "$test" = kselftest ] && grep '# SKIP' "$work/console" | grep -vq 'no memory controller'; then
    echo "selftest: not all was tried" >&2
    exit 1
fi
[ "$lines" = 0 ] || grep -q '^selftest exit 0' "$work/console" || exit 1
