#!/bin/bash
# Builds the kernel, boots it under QEMU and runs the self-test: test.sh [base|debug|bpf|uml].
# LIST_LINES and ROUNDS say how long its long list is, and how many rounds of stress it does.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
flavour=${1:-base}

missing=()
for package in busybox-static cpio e2fsprogs gcc libc6-dev make qemu-system-x86 swtpm; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get -qq -o DPkg::Lock::Timeout=300 update
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${missing[@]}" >&2
fi

image=$("$here/build.sh" "$flavour")
# KASAN and lockdep make everything several times slower, and QEMU is slow already.
case $flavour in
debug | uml)
    lines=${LIST_LINES:-20000} rounds=${ROUNDS:-5} timeout=3600
    export CHECKERS=1
    ;;
*) lines=${LIST_LINES:-100000} rounds=${ROUNDS:-20} timeout=900 ;;
esac
export TIMEOUT=${TIMEOUT:-$timeout}
"$here/selftest/run.sh" "$image" "$lines" "$rounds"
KSELFTEST=$("$here/build.sh" "$flavour" kselftest)
export KSELFTEST
TEST=kselftest "$here/selftest/run.sh" "$image"
# Those that take a TPM, a second processor, or a boot of their own.
if [ "$flavour" != uml ]; then
    SMP=2 "$here/selftest/run.sh" "$image" $((lines / 5)) "$rounds"
    TEST=full "$here/selftest/run.sh" "$image"
fi
# The others can't load a kernel.
[ "$flavour" != bpf ] || TEST=kexec "$here/selftest/run.sh" "$image"
