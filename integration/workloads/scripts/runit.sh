mkdir -p /scratch
runsvdir /opt/app/runit & scan=$!
until_ready test -s /scratch/runit
: >>/scratch/finish
while more; do
    lines=$(wc -l </scratch/finish)
    until_ready sh -c "[ \$(wc -l </scratch/finish) -gt $lines ]"
    equal finished finish "$(tail -n 1 /scratch/finish)"
    equal status run "$(sv status /opt/app/runit/tick | cut -d : -f 1 | sed 's/^\(run\|finish\|down\)$/run/')"
    sv restart /opt/app/runit/tick >/dev/null || true
done
kill -HUP $scan
