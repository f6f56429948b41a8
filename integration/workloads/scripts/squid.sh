mkdir -p /scratch/www && chmod -R 777 /scratch && cd /scratch/www && echo served >index.html
python3 -B -m http.server -b 127.0.0.1 8090 >/dev/null 2>&1 &
squid -f /opt/app/conf/squid.conf
until_ready curl -sf -U t:t -x http://127.0.0.1:3128 http://127.0.0.1:8090/
while more; do
    equal proxied served "$(curl -s -U t:t -x http://127.0.0.1:3128 http://127.0.0.1:8090/)"
    equal refused 407 "$(curl -s -o /dev/null -w '%{http_code}' -x http://127.0.0.1:3128 http://127.0.0.1:8090/)"
done
squid -f /opt/app/conf/squid.conf -k shutdown
