mkdir -p /scratch/root && cd /scratch
cp /opt/app/static.py /opt/app/index.html root/
head -c 300000 /dev/urandom >root/data
cat >nginx.conf <<'END'
worker_processes 2;
pid /scratch/pid;
error_log /scratch/error.log;
events { worker_connections 256; }
http {
    access_log off;
    include /etc/nginx/mime.types;
    server {
        listen 127.0.0.1:8000;
        root /scratch/root;
        location /image/ { alias /opt/app/; }
        location /proxy/ { proxy_pass http://127.0.0.1:8000/; }
    }
}
END
nginx -t -q -c /scratch/nginx.conf
nginx -c /scratch/nginx.conf
until_ready curl -fs http://127.0.0.1:8000/
while more; do
    equal data "$(sha256sum <root/data)" "$(curl -fs http://127.0.0.1:8000/data | sha256sum)"
    equal 'a copied .py, as text' "$(cat /opt/app/static.py)" "$(curl -fs http://127.0.0.1:8000/static.py)"
    equal "the image's .py" "$(cat /opt/app/static.py)" "$(curl -fs http://127.0.0.1:8000/image/static.py)"
    equal proxy "$(cat root/index.html)" "$(curl -fs http://127.0.0.1:8000/proxy/index.html)"
    if [ $((rounds % 20)) = 0 ]; then nginx -c /scratch/nginx.conf -s reload; sleep 0.3; fi
done
