# Holds a node's namespaces open until standard input closes, then ends what is left in
# them. Runs as: sh -c THIS sh FOLDER TAG
folder=$1 tag=$2
set -e
mkdir -p "$folder/run/netns" "$folder/cni-cache" /var/lib/cni
mount --bind "$folder/run" /run
mount --bind "$folder/cni-cache" /var/lib/cni
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
echo ready
set +e
cat >/dev/null

# The test is over, or was interrupted. What is ours has our mount namespace, or runs in
# a cgroup beneath our tag: nothing else is touched.
cd /
in_tag() {
    while read -r line; do
        case $line in *"/$tag"/*) return 0 ;; esac
    done 2>/dev/null <"$1/cgroup"
    return 1
}
# Starts no process but its own subshell: there may be many to look at.
ours() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" != $$ ] || continue
        if [ "$process/ns/mnt" -ef "/proc/$$/ns/mnt" ] || in_tag "$process"; then
            echo "$pid"
        fi
    done
}
thaw() {
    find /sys/fs/cgroup/freezer/"$tag" -name freezer.state 2>/dev/null |
        while read -r state; do echo THAWED >"$state"; done
    find /sys/fs/cgroup/"$tag" /sys/fs/cgroup/unified/"$tag" -name cgroup.freeze 2>/dev/null |
        while read -r state; do echo 0 >"$state"; done
}
for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=
    for pid in $(ours); do
        # The pipe's own subshell is in the list too, and gone by now.
        kill -9 "$pid" 2>/dev/null && left=1
    done
    thaw
    [ -n "$left" ] || break
    sleep 0.05
done
awk -v folder="$folder" 'index($5, folder) == 1 || $5 ~ "^/run/." { print $5 }' \
    /proc/self/mountinfo | sort -r | while read -r target; do umount -l "$target"; done
find /sys/fs/cgroup -depth -type d -path "*/$tag*" -exec rmdir {} + 2>/dev/null
umount -l /run /var/lib/cni
rm -rf --one-file-system "$folder"
