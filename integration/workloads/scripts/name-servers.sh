mkdir -p /scratch && chmod 777 /scratch
dnsmasq --port=5353 --listen-address=127.0.0.1 --no-resolv --address=/answer.test/192.0.2.42 --pid-file=/scratch/dnsmasq.pid
unbound -c /opt/app/conf/unbound.conf
named -u bind -c /opt/app/conf/named.conf
ask() { dig +short +tries=5 -p "$1" @127.0.0.1 answer.test A; }
for port in 5353 5354 5355; do until_ready sh -c "dig +short -p $port @127.0.0.1 answer.test A | grep -q 42"; done
while more; do
    equal dnsmasq 192.0.2.42 "$(ask 5353)"
    equal unbound 192.0.2.42 "$(ask 5354)"
    equal named 192.0.2.42 "$(ask 5355)"
done
