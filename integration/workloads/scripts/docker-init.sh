equal 'first process' busybox-init "$(cat /proc/1/comm)"
while more; do
    equal answer "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    sleep 0.1
done
