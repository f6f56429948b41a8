#!/bin/bash
# Installs the package of FLAVOUR=debian as docs/kernel.md says, in a Debian made through apt,
# and boots that from its own disk by its own grub, under QEMU with a software TPM; runs the
# self-test there; purges the package, and boots once more. Run as root: it takes a loop
# device, and a chroot in a mount namespace of its own.
#   LSMOD=FILE       the modules that the package has (default config/vm.modules); more of
#                    them are no harm, but those are tested for
#   DEBS=FOLDER      packages that are there already; nothing is built
#   LIST_LINES=N     how long the self-test's long list is (5000)
#   ROUNDS=N         of its stress (5)
#   TIMEOUT=SECONDS  for a guest (1200)
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernel=$(dirname "$here")
cache=${LACRE_CACHE:-$(dirname "$kernel")/.cache}/kernel
mkdir -p "$cache"
. "$kernel/source.sh"
[ "$(id -u)" = 0 ] || die "this test wants root"
[ -n "${LACRE_TEST_NAMESPACE:-}" ] ||
    LACRE_TEST_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"

need busybox-static debian-archive-keyring e2fsprogs fdisk gcc libc6-dev make mmdebstrap mount \
    qemu-system-x86 swtpm
debs=${DEBS:-$(LSMOD=${LSMOD:-$kernel/config/vm.modules} "$kernel/build.sh" debian deb)}
deb=$(echo "$debs"/linux-image-*.deb)
[ -e "$deb" ] || die "no package linux-image-*.deb in $debs"
package=$(dpkg-deb -f "$deb" Package)
release=${package#linux-image-}

work=$(mktemp -d)
. "$kernel/selftest/tpm.sh"
loop=
close_disk() {
    [ -z "$loop" ] || { umount -R "$work/root" 2>/dev/null || true; partx --delete "$loop"; losetup -d "$loop"; }
    loop=
}
cleanup() {
    tpm_end
    close_disk
    rm -rf "$work"
}
trap cleanup EXIT

# === a Debian, made once ===

codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The last is a kernel to go back to.
programs=systemd-sysv,dbus,udev,kmod,initramfs-tools,zstd,grub-pc,iproute2,nftables,linux-image-cloud-amd64
base=$cache/debian-$(echo "$codename $programs" | sha256sum | cut -c1-16).tar

# What the machine's own apt has of Debian.
sources() {
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(CODENAME) main' \
        'Identifier: Packages' 'Component: main' | sort -u |
        sed -n 's,^Debian|,deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ,p'
}

if [ ! -e "$base" ]; then
    say "making a Debian $codename"
    rm -f "$cache"/debian-*.tar
    sources | mmdebstrap --quiet --mode=root --variant=minbase --include="$programs" \
        "$codename" "$base.part.tar" - >&2
    mv "$base.part.tar" "$base"
fi

# === its disk ===

# With a /dev of its own, that has no disk but this one, and has it by its UUID, as grub asks.
open_disk() {
    loop=$(losetup --find --show "$work/disk")
    # Not every kernel looks for partitions by itself.
    partx --add "$loop"
    [ "${1:-}" != new ] || mkfs.ext4 -q "${loop}p1"
    mkdir -p "$work/root"
    mount "${loop}p1" "$work/root"
    [ "${1:-}" != new ] || tar -xf "$base" -C "$work/root"
    uuid=$(blkid -o value -s UUID "${loop}p1")
    local dev=$work/root/dev
    mount -t tmpfs -o mode=0755 dev "$dev"
    cp -a /dev/{null,zero,full,random,urandom,tty} "$loop" "${loop}p1" "$dev/"
    ln -s /proc/self/fd "$dev/fd"
    mkdir -p "$dev/disk/by-uuid"
    ln -s "../../${loop##*/}p1" "$dev/disk/by-uuid/$uuid"
    mount -t proc proc "$work/root/proc"
    mount -t sysfs -o ro sysfs "$work/root/sys"
    mount -t tmpfs tmp "$work/root/tmp"
}
in_root() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive chroot "$work/root" "$@"
}

truncate -s 4G "$work/disk"
printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$work/disk"
open_disk new
root=$work/root
echo "UUID=$uuid / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
# The machine that this Debian runs on: a serial console and no screen, a clock that QEMU keeps.
echo GRUB_TERMINAL=console >>"$root/etc/default/grub"
sed -i -e 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' -e \
    's/^GRUB_CMDLINE_LINUX_DEFAULT=.*/GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0 tsc=unstable panic=-1"/' \
    "$root/etc/default/grub"
in_root grub-install --target=i386-pc "$loop" 2>&1 | sed 's/^/# /' >&2
in_root update-grub 2>&1 | sed 's/^/# /' >&2
tests=$root/opt/lacre-test
install -D -t "$tests" "$here/guest.sh"
sed 's/#.*//; /^[ \t]*$/d' "$kernel/config/vm.modules" >"$tests/vm.modules"
make -s -C "$kernel/selftest" OUT="$work"
cp "$work/ima_container_test" "$work/tiny" "$root/"
install -m 0644 "$here/guest.service" "$root/etc/systemd/system/lacre-test.service"
in_root systemctl -q enable lacre-test.service

# === what docs/kernel.md says under Install ===

cp "$deb" "$root/tmp/"
in_root sh -c 'dpkg -i /tmp/linux-image-*.deb' 2>&1 | sed 's/^/# /' >&2
sed -i 's/^GRUB_CMDLINE_LINUX=.*/GRUB_CMDLINE_LINUX="ima_container=on ima_template=ima-ng ima_hash=sha256"/' \
    "$root/etc/default/grub"
in_root update-grub 2>&1 | sed 's/^/# /' >&2
# The two rules that it gives as an example, and the self-test's own.
install -D -m 0644 "$kernel/selftest/policy" "$root/etc/ima/ima-policy"

# === checks ===

failed=
ok() {
    local what=$1
    shift
    if "$@"; then echo "ok - $what"; else echo "not ok - $what"; failed=1; fi
}
# What there is of the release outside dpkg's own records.
left() {
    find "$root"/{boot,etc,usr,var} -path "$root/var/lib/dpkg" -prune -o -name "*$release*" -print
    grep -lF "$release" "$root/boot/grub/grub.cfg" || true
}
gone() {
    local files
    files=$(left) && [ -z "$files" ] || { printf '%s\n' "$files" | sed 's/^/# /'; return 1; }
}
lacks() { ! grep -q "$1" "$2"; }

initrd=/boot/initrd.img-$release
ok "dpkg -i made an initrd" test -s "$root$initrd"
for module in virtio_blk ext4; do
    ok "with $module" grep -q "/$module\.ko" <(in_root lsinitramfs "$initrd")
done
ok "grub has the kernel" grep -qF "vmlinuz-$release" "$root/boot/grub/grub.cfg"
echo "# $(du -h "$deb" | cut -f1) the package, $(in_root dpkg-query -W -f '${Installed-Size}' "$package") KiB installed," \
    "$(du -h "$root$initrd" | cut -f1) its initrd, $(in_root find "/lib/modules/$release" -name '*.ko*' | wc -l) modules"

boot() {
    local console=$work/console said=$work/said status=0
    echo "ARGUMENTS=$*" >"$tests/arguments"
    close_disk
    tpm_start
    timeout "${TIMEOUT:-1200}" qemu-system-x86_64 -machine q35 -accel tcg \
        -cpu "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt" -smp 1 -m 1536 \
        -nodefaults -no-reboot -nographic -serial "file:$console" -serial stdio \
        "${tpm_device[@]}" -object rng-random,id=rng,filename=/dev/urandom \
        -device virtio-rng-pci,rng=rng -drive "file=$work/disk,format=raw,if=none,id=d" \
        -device virtio-blk-pci,drive=d </dev/null | tee "$said" | tpm_obey || status=$?
    tpm_end
    open_disk
    ok "the guest ends by itself" test $status = 0
    ok "and has come to its end" grep -q '^guest done' "$said"
    ok "nothing failed in it" lacks '^not ok' "$said"
    [ -z "$failed" ] || { tail -n 60 "$console" >&2; die "see the console above"; }
}

started=$SECONDS
boot "${LIST_LINES:-5000}" "${ROUNDS:-5}"
ok "the self-test passes" grep -q '^selftest exit 0' "$work/said"
ok "with a TPM" lacks '^# no TPM' "$work/said"
echo "# $((SECONDS - started)) s for this boot; $(grep -c '^ok' "$work/said") checks in it pass"

in_root dpkg --purge "$package" 2>&1 | sed 's/^/# /' >&2
ok "dpkg --purge leaves nothing of it" gone
ok "dpkg does not know it any more" lacks "^Package: $package$" "$root/var/lib/dpkg/status"
boot gone
[ -z "$failed" ]
