equal 'first process' init "$(cat /proc/1/comm)"
until_ready test -s /scratch/sysinit
while more; do
    lines=$(wc -l </scratch/respawned)
    end=$((SECONDS + 60))
    until [ "$(wc -l </scratch/respawned)" -gt "$lines" ]; do
        [ "$SECONDS" -lt "$end" ] || wrong 'nothing was started again'
        sleep 0.1
    done
    equal started again "$(tail -n 1 /scratch/respawned)"
done
