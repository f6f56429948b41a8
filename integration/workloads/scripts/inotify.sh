mkdir -p /scratch/watched && cd /scratch
while more; do
    rm -f seen ran watched/*
    inotifywait -q -e close_write --format %f watched >seen 2>/dev/null & watcher=$!
    until_ready grep -q inotify "/proc/$watcher/fdinfo/3"
    echo "$rounds" >"watched/file-$rounds"
    wait $watcher
    equal seen "file-$rounds" "$(cat seen)"
    echo 1 >watched/input
    echo watched/input | entr -nz sh -c '/opt/app/start.sh run >>ran' & watcher=$!
    until_ready test -s ran
    equal entr "answer run" "$(head -n 1 ran)"
    wait $watcher || true
done
