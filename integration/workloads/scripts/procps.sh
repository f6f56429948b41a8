while more; do
    sleep 100 & pid=$!
    until_ready grep -q sleep "/proc/$pid/comm"
    equal ps sleep "$(ps -o comm= -p "$pid")"
    equal pgrep "$pid" "$(pgrep -n -x sleep)"
    equal stat 1 "$(vmstat | grep -c swpd)"
    pkill -P $$ -x sleep; wait "$pid" 2>/dev/null || true
    equal gone 1 "$(kill -0 "$pid" 2>/dev/null; echo $?)"
done
