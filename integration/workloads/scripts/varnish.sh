mkdir -p /scratch/www /scratch/vcl && cd /scratch/www && echo served >index.html
python3 -B -m http.server -b 127.0.0.1 8085 >/dev/null 2>&1 &
# Its configuration becomes C, and that a library, which it loads.
varnishd -n /scratch/vcl -a 127.0.0.1:8086 -b 127.0.0.1:8085 -P /scratch/varnish.pid -s malloc,16m
until_ready curl -sf http://127.0.0.1:8086/
while more; do
    equal cached served "$(curl -s http://127.0.0.1:8086/)"
    printf 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "8085"; }\nsub vcl_deliver { set resp.http.X-Round = "%s"; }\n' "$rounds" >/scratch/vcl.vcl
    varnishadm -n /scratch/vcl vcl.load "round$rounds" /scratch/vcl.vcl >/dev/null
    varnishadm -n /scratch/vcl vcl.use "round$rounds" >/dev/null
    until_ready sh -c "curl -si http://127.0.0.1:8086/ | grep -q 'X-Round: $rounds'"
    equal loaded 1 "$(curl -si http://127.0.0.1:8086/ | grep -c "X-Round: $rounds")"
done
