mkdir -p /scratch
php() { command php -d opcache.enable_cli=1 -d opcache.jit="$jit" -d opcache.jit_buffer_size=16M "$@"; }
while more; do
    for jit in tracing function; do
        equal primes 1229 "$(php /opt/app/www/primes.php)"
        equal code 4950 "$(php -r '$s = 0; for ($i = 0; $i < 100; $i++) $s += $i; echo $s;')"
        equal JIT on "$(php /opt/app/www/jit.php)"
    done
done
