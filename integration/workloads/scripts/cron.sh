echo '* * * * * root /opt/app/start.sh cron >>/tmp/cron.out 2>&1' >/etc/cron.d/work
echo '* * * * * seq 3 | tail -n 1 >>/tmp/root.out 2>&1' | crontab -
cron
for file in /tmp/cron.out /tmp/root.out; do
    end=$((SECONDS + 90))
    until [ -s "$file" ]; do
        [ "$SECONDS" -lt "$end" ] || wrong "no job has written $file"
        sleep 0.2
    done
done
while more; do
    equal crontab 1 "$(crontab -l | grep -c 'seq 3')"
    sleep 0.5
done
equal 'system job' 'answer cron' "$(head -n 1 /tmp/cron.out)"
equal "root's job" 3 "$(head -n 1 /tmp/root.out)"
