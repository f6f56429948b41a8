mkdir -p /scratch && cd /scratch
while more; do
    equal sum "$(sha256sum </usr/bin/env)" "$(busybox sha256sum </usr/bin/env)"
    equal shell 45 "$(busybox sh -c 'n=0; for i in 0 1 2 3 4 5 6 7 8 9; do n=$((n+i)); done; echo $n')"
    equal awk 10 "$(busybox seq 4 | busybox awk '{ s += $1 } END { print s }')"
    busybox tar -cf app.tar -C / opt/app && rm -rf opt && busybox tar -xf app.tar
    equal tree '' "$(busybox diff -r /opt/app opt/app)"
    busybox httpd -p 127.0.0.1:8080 -h /opt/app
    equal web "$(cat /opt/app/start.sh)" "$(busybox wget -qO - http://127.0.0.1:8080/start.sh)"
    busybox killall httpd busybox 2>/dev/null || true
done
