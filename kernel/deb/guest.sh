#!/bin/bash
# Run by systemd in a Debian that booted the package's kernel: says on the second serial line
# what is there, runs the self-test, and powers off. guest.sh [LINES [ROUNDS]], or guest.sh
# gone: says only which kernel runs.
exec >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw
cd /opt/lacre-test || exit
containers=/sys/kernel/security/ima/containers
release=$(uname -r)

# ok WHAT COMMAND...
ok() {
    local what=$1 said
    shift
    if said=$("$@" 2>&1); then echo "ok - $what"; else echo "not ok - $what: ${said//$'\n'/; }"; fi
}
is() { [ "$1" = "$2" ] || { echo "$1, not $2"; return 1; }; }
contains() { grep -q "$@"; }
loaded() {
    contains "^$1 " /proc/modules && contains "^/lib/modules/$release/" <(modinfo -n "$1")
}
# A driver without its device is no fault of the package.
loads() {
    local said
    said=$(modprobe "$1" 2>&1) || [[ $said == *"No such device"* ]] || { echo "$said"; return 1; }
}
network() {
    ip link add br-test type bridge &&
        ip link add in type veth peer name out &&
        ip link set out master br-test up &&
        ip netns add test &&
        ip link set in netns test &&
        nft 'add table ip test; add chain ip test post { type nat hook postrouting priority 100; };
            add rule ip test post ct state new masquerade'
}
overlay() {
    mkdir -p /disk/{lower,upper,work} /t &&
        mount -t overlay overlay -o lowerdir=/disk/lower,upperdir=/disk/upper,workdir=/disk/work /t
}

echo "# $release on $(. /etc/os-release && echo "$PRETTY_NAME"), up for $(cut -d' ' -f1 /proc/uptime) s"
state=$(systemctl is-system-running --wait)
ok "systemd has brought up everything" is "$state" running
[ "$state" = running ] || systemctl --failed --no-legend | sed 's/^/# /'

if [ "$1" = gone ]; then
    ok "this is another kernel" test ! -e $containers
else
    ok "the kernel is the package's" is \
        "$(dpkg-query -S "/boot/vmlinuz-$release" 2>&1 | cut -d: -f1)" "linux-image-$release"
    ok "it got its parameters from grub" contains "ima_container=on ima_template=ima-ng ima_hash=sha256" /proc/cmdline
    sed 's/^/# status /' $containers/status
    ok "it has containers, and a TPM" contains '^tpm yes$' $containers/status
    for module in virtio_blk ext4; do
        ok "$module is a module, and from the package" loaded $module
    done
    total=$(wc -l <vm.modules)
    for module in $(cat vm.modules); do
        loads "$module" || { echo "not ok - $module loads"; break; }
    done
    ok "of $total modules each loads, or lacks its device" is "$module" "$(tail -n 1 vm.modules)"
    echo "# $(wc -l </proc/modules) modules are loaded"
    ok "a container's network can be made" network
    ok "the kernel has BTF" test -s /sys/kernel/btf/vmlinux
    ok "modules have BTF" test -s /sys/kernel/btf/ext4
    ok "the policy was loaded by systemd" contains 'loaded the IMA custom policy /etc/ima/ima-policy' \
        <(journalctl -b -o cat)
    ok "and is in force: the host's list goes on after boot_aggregate" contains \
        '^10 .* ima-ng sha256:.* /usr/bin/stty$' \
        /sys/kernel/security/ima/ascii_runtime_measurements
    ok "overlayfs on ext4" overlay
    /ima_container_test "${1:-5000}" "${2:-5}"
    echo "selftest exit $?"
    ok "the kernel is not tainted" is "$(cat /proc/sys/kernel/tainted)" 0
    dmesg | grep -E 'WARNING:|BUG:|INFO: (rcu|task)|Oops|refcount_t' | sed 's/^/not ok - the kernel said: /'
fi
echo "guest done"
systemctl poweroff
