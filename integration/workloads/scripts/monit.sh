mkdir -p /scratch
monit -c /opt/app/conf/monitrc
until_ready test -s /scratch/monit.ran
while more; do
    equal ran ran "$(tail -n 1 /scratch/monit.ran)"
    equal status 0 "$(monit -c /opt/app/conf/monitrc summary >/dev/null; echo $?)"
    sleep 0.5
done
monit -c /opt/app/conf/monitrc quit >/dev/null
