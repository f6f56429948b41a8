mkdir -p /scratch && export HOME=/tmp
puma -q -b tcp://127.0.0.1:8088 -w 2 --pidfile /scratch/puma.pid /opt/app/config.ru >/scratch/puma.log 2>&1 &
until_ready curl -sf http://127.0.0.1:8088/
while more; do
    equal answer "rack /$rounds" "$(curl -s "http://127.0.0.1:8088/$rounds")"
done
kill "$(cat /scratch/puma.pid)"
