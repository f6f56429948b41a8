#!/bin/busybox sh
# Debian's kernel has these as modules; with them there, the real root is mounted.
export PATH=/bin
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    $b insmod "$module" || echo "initrd: $module was not loaded"
done
tries=0
until [ -b /dev/vda ] || [ $tries -gt 200 ]; do
    tries=$((tries + 1))
    $b usleep 50000
done
$b mount -t ext4 -o noatime /dev/vda /new || {
    echo "initrd: no root file system"
    $b poweroff -f
}
exec $b switch_root /new /sbin/init
