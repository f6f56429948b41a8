mkdir -p /scratch && cd /scratch
cat >haproxy.cfg <<'END'
global
    lua-load /opt/app/haproxy.lua
    maxconn 200
    nbthread 2
defaults
    mode http
    timeout connect 10s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:8000
    http-request use-service lua.answer if { path_beg /lua }
    default_backend back
backend back
    balance roundrobin
    server one 127.0.0.1:8001
    server two 127.0.0.1:8002
frontend one
    bind 127.0.0.1:8001
    http-request return status 200 content-type text/plain string one
frontend two
    bind 127.0.0.1:8002
    http-request return status 200 content-type text/plain string two
END
haproxy -c -f haproxy.cfg >/dev/null
haproxy -D -f haproxy.cfg -p /scratch/pid
until_ready curl -fs http://127.0.0.1:8000/
while more; do
    equal lua "answer $((rounds * 7))" "$(curl -fs "http://127.0.0.1:8000/lua?n=$rounds")"
    equal both 'one two' "$(for _ in 1 2; do curl -fs http://127.0.0.1:8000/; echo; done | sort | xargs)"
    if [ $((rounds % 20)) = 0 ]; then
        haproxy -D -f haproxy.cfg -p /scratch/pid -sf $(cat /scratch/pid)
        until_ready curl -fs http://127.0.0.1:8000/
    fi
done
