mkdir -p /scratch && cd /scratch
redis-server --port 0 --unixsocket /scratch/redis.sock --dir /scratch --save '' --appendonly yes \
    --daemonize yes --io-threads 2 >/dev/null
redis() { redis-cli -s /scratch/redis.sock "$@"; }
until_ready redis ping
while more; do
    redis flushall >/dev/null
    redis-benchmark -s /scratch/redis.sock -q -n 5000 -c 8 -t set,get,lpush >/dev/null
    redis set key "value $rounds" >/dev/null
    equal get "value $rounds" "$(redis get key)"
    equal lua 42 "$(redis eval 'return tonumber(ARGV[1]) * 7' 0 6)"
    for n in 1 2 3 4 5; do echo "INCR counter"; done | redis >/dev/null
    equal counter 5 "$(redis get counter)"
    # It forks for this.
    redis bgrewriteaof >/dev/null
    until_ready sh -c 'redis-cli -s /scratch/redis.sock info persistence | grep -q aof_rewrite_in_progress:0'
done
redis shutdown nosave || true
