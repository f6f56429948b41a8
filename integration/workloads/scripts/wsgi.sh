cd /opt/app
python3 -B /opt/app/serve.py /opt/app/app.wsgi 8000 >/dev/null 2>&1 & server=$!
get() { python3 -B -c 'import sys, urllib.request as r; print(r.urlopen("http://127.0.0.1:8000/" + sys.argv[1]).read().decode())' "$1"; }
until_ready get 1
while more; do
    equal WSGI "wsgi /$rounds" "$(get "$rounds")"
done
kill "$server"
