mkdir -p /scratch
nginx -c /opt/app/conf/nginx.conf
until_ready curl -sf http://127.0.0.1:8081/primes
while more; do
    equal jit 'primes 2262' "$(curl -s http://127.0.0.1:8081/primes)"
    equal file "lua $rounds" "$(curl -s "http://127.0.0.1:8081/file?n=$rounds")"
    nginx -c /opt/app/conf/nginx.conf -s reload
done
nginx -c /opt/app/conf/nginx.conf -s quit
