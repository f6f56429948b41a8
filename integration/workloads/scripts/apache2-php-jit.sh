cat >/etc/php/8.2/apache2/conf.d/99-jit.ini <<'END'
opcache.enable=1
opcache.jit=tracing
opcache.jit_buffer_size=32M
opcache.jit_hot_loop=4
opcache.jit_hot_func=8
END
sed -i 's|/var/www/html|/opt/app/www|' /etc/apache2/sites-available/000-default.conf
printf '<Directory /opt/app/www>\nRequire all granted\n</Directory>\nServerName localhost\n' \
    >>/etc/apache2/apache2.conf
mkdir -p /run/lock
export APACHE_ULIMIT_MAX_FILES=true
apachectl start
until_ready curl -fs http://127.0.0.1/answer.php
equal JIT on "$(curl -fs http://127.0.0.1/jit.php)"
seq 40 >/tmp/forty
while more; do
    equal primes 1229 "$(curl -fs http://127.0.0.1/primes.php)"
    # By many of its processes, which share the memory that it compiles into.
    equal many 40 "$(xargs -P 8 -I{} curl -fs 'http://127.0.0.1/primes.php?{}' </tmp/forty | grep -c 1229)"
done
