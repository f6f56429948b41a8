mkdir -p /scratch
s6-svscan /opt/app/s6 & scan=$!
until_ready test -s /scratch/s6
until_ready test -s /scratch/execline
while more; do
    lines=$(wc -l </scratch/execline)
    s6-svc -r /opt/app/s6/tock
    until_ready sh -c "[ \$(wc -l </scratch/execline) -gt $lines ]"
    equal again tock "$(tail -n 1 /scratch/execline)"
    equal up true "$(s6-svstat -o wantedup /opt/app/s6/tick)"
done
s6-svscanctl -t /opt/app/s6 && wait $scan || true
