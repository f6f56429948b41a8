#!/bin/busybox sh
# The guest's first process: mounts what a distribution would, loads the IMA policy when the
# command line asks for it, and hands over to the agent on the second disk.
export PATH=/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
# Some kernels and the initrd have done this.
[ -c /dev/null ] || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t cgroup2 none /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing 2>/dev/null
mount --make-rshared /
ip link set lo up
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done

# Written whole, at once: a second write would be a second policy.
if grep -qw lacre.ima /proc/cmdline; then
    cat /etc/ima/policy >/sys/kernel/security/ima/policy || echo "init: no IMA policy was loaded"
fi

mount -t ext4 -o ro /dev/vdb /lacre || echo "init: the disk with lacre's programs is not there"
/lacre/bin/lacre-vm-agent
echo "init: the agent has ended ($?)"
poweroff -f
