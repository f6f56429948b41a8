equal 'first process' dumb-init "$(cat /proc/1/comm)"
while more; do
    equal answer "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    (sleep 0.1 & exec true)
    sleep 0.2
    equal zombies '' "$(ps -eo stat= | grep ^Z || true)"
done
