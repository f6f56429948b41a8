mkdir -p /scratch && export PYTHONDONTWRITEBYTECODE=1
gunicorn -D -b 127.0.0.1:8087 -w 2 -p /scratch/gunicorn.pid --chdir /opt/app wsgi_app:application
until_ready curl -sf http://127.0.0.1:8087/
while more; do
    equal answer "wsgi /$rounds" "$(curl -s "http://127.0.0.1:8087/$rounds")"
    kill -HUP "$(cat /scratch/gunicorn.pid)"
    until_ready curl -sf http://127.0.0.1:8087/
    # It executes itself anew, and hands its sockets over.
    kill -USR2 "$(cat /scratch/gunicorn.pid)"
    until_ready test -s /scratch/gunicorn.pid.2
    equal second "wsgi /2" "$(curl -s http://127.0.0.1:8087/2)"
    kill "$(cat /scratch/gunicorn.pid.2)"
    until_ready sh -c '! test -e /scratch/gunicorn.pid.2'
done
kill "$(cat /scratch/gunicorn.pid)"
