mkdir -p /scratch
atd
while more; do
    rm -f /scratch/out
    echo "/opt/app/start.sh $rounds >/scratch/part; mv /scratch/part /scratch/out" | at now 2>/dev/null
    until_ready test -s /scratch/out
    equal job "answer $rounds" "$(cat /scratch/out)"
    echo 'echo batch >/scratch/batch' | batch 2>/dev/null || true
    equal later 1 "$(echo true | at now + 1 hour 2>/dev/null; atq | grep -c . | sed 's/^[1-9].*/1/')"
done
