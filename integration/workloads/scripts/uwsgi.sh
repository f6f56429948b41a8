mkdir -p /scratch && export PYTHONDONTWRITEBYTECODE=1
uwsgi --plugin python3 --http-socket 127.0.0.1:8089 --master --processes 2 --chdir /opt/app --module wsgi_app \
    --pidfile /scratch/uwsgi.pid --daemonize /scratch/uwsgi.log >/dev/null 2>&1
until_ready curl -sf http://127.0.0.1:8089/
while more; do
    equal answer "wsgi /$rounds" "$(curl -s "http://127.0.0.1:8089/$rounds")"
    kill -HUP "$(cat /scratch/uwsgi.pid)"
    until_ready curl -sf http://127.0.0.1:8089/
done
kill -INT "$(cat /scratch/uwsgi.pid)"
