mkdir -p /scratch
lighttpd -f /opt/app/conf/lighttpd.conf
until_ready curl -sf 'http://127.0.0.1:8080/answer.cgi?1'
while more; do
    equal cgi "cgi $rounds" "$(curl -s "http://127.0.0.1:8080/answer.cgi?$rounds")"
    equal file "$(sha256sum </opt/app/www/part.inc)" "$(curl -s http://127.0.0.1:8080/part.inc | sha256sum)"
done
