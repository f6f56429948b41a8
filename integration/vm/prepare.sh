#!/bin/bash
# Brings what the virtual machines run on: QEMU and swtpm through apt; and, unpacked into
# the cache (never installed), Debian's own Linux 6.12 with an initrd of the two modules that
# it needs. Idempotent, and silent when all is there. The root file system is made from the
# test daemons and images by the first test that boots it.
#
# The cache is $LACRE_CACHE, by default .cache at the root of the repository:
#   vm/debian-6.12-HASH/{vmlinuz,initrd,version}
set -euo pipefail
umask 022

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${LACRE_CACHE:-$root/.cache}
here=$root/integration/vm
label=vm
. "$root/integration/apt.sh"

# The newest 6.12 that the machine's own apt sources have; the cloud flavour is the smallest.
kernel_package() {
    apt-cache pkgnames linux-image-6.12. |
        grep -E '^linux-image-6\.12\.[0-9]+[^-]*-cloud-amd64$' | sort -V | tail -n 1
}

make_kernel() {
    local tree=$1 part=$1.part package
    package=$(kernel_package)
    if [ -z "$package" ]; then
        apt_get update
        package=$(kernel_package)
    fi
    [ -n "$package" ] || die "no linux-image-6.12.*-cloud-amd64 in this machine's apt sources; \
add the security suite of Debian 12, or the main suite of Debian 13"
    say "unpacking $package"
    rm -rf "$part"
    mkdir -p "$part/tree"
    download "$part" "$package" || { apt_get update; download "$part" "$(kernel_package)"; }
    dpkg-deb --fsys-tarfile "$part"/*.deb | tar -x --no-same-owner -C "$part/tree"
    mv "$part"/tree/boot/vmlinuz-* "$part/vmlinuz"
    dpkg-deb -W --showformat='${Package} ${Version}\n' "$part"/*.deb >"$part/version"
    make_initrd "$part"
    rm -rf "$part/tree" "$part"/*.deb
    mv "$part" "$tree"
}

download() { (cd "$1" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$2" >&2); }

make_initrd() {
    local busybox=$cache/tools/bin/busybox module file from=$1/tree to=$1/initrd.tree
    [ -x "$busybox" ] || die "$busybox is missing; run integration/setup.sh"
    mkdir -p "$to"/{bin,dev,modules,new,proc}
    cp "$busybox" "$to/bin/busybox"
    install -m 0755 "$here/initrd-init.sh" "$to/init"
    for module in virtio_blk overlay; do
        file=$(find "$from" -name "$module.ko*")
        case $file in
            '') die "$package has no module $module" ;;
            *.xz) "$busybox" unxz -c "$file" >"$to/modules/$module.ko" ;;
            *.ko) cp "$file" "$to/modules/" ;;
            *) die "$file is compressed in a way unknown to this script" ;;
        esac
    done
    (cd "$to" && find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$1/initrd"
    rm -rf "$to"
}

[ "$(uname -m)" = x86_64 ] || die "the guests are x86_64 only"
install_packages $(packages_of vm)
mkdir -p "$cache/vm"
exec 9>"$cache/vm/.lock"
flock 9
# A kernel stays until the script that unpacks it, or its initrd, has changed.
hash=$(cat "${BASH_SOURCE[0]}" "$here/initrd-init.sh" | sha256sum | cut -c 1-16)
tree=$cache/vm/debian-6.12-$hash
[ -d "$tree" ] || make_kernel "$tree"
ln -sfn "${tree##*/}" "$cache/vm/debian-6.12"
