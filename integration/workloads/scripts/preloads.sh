mkdir -p /scratch && cd /scratch
while more; do
    equal fakeroot root "$(setpriv --reuid=65534 --regid=65534 --clear-groups fakeroot stat -c %U /proc/self 2>/dev/null || setpriv --reuid=65534 --regid=65534 --clear-groups fakeroot id -un)"
    equal faketime 2001-02-03 "$(faketime '2001-02-03 04:05:06' date +%F)"
    equal eatmydata "answer $rounds" "$(eatmydata /opt/app/start.sh "$rounds")"
    equal stdbuf "$rounds" "$(echo "$rounds" | stdbuf -oL sed -n 1p)"
    equal preload "twice 6" "$(LD_PRELOAD=/opt/app/bin/libanswer.so /opt/app/bin/target 3)"
    equal path "loaded 42" "$(LD_LIBRARY_PATH=/opt/app/bin python3 -B /opt/app/bin/loaded.py)"
    equal rpath "twice 8" "$(/opt/app/bin/patched 4)"
    equal static "twice 8" "$(/opt/app/bin/target-static 4)"
    equal bind "twice 2" "$(LD_BIND_NOW=1 /opt/app/bin/target 1)"
done
