mkdir -p /scratch && chmod 777 /scratch
php-fpm8.2 -y /opt/app/conf/fpm.conf -d opcache.enable=1 -d opcache.jit_buffer_size=16M -d opcache.jit=tracing
ask() { SCRIPT_FILENAME=/opt/app/www/$1 REQUEST_METHOD=GET cgi-fcgi -bind -connect /scratch/fpm.sock | tail -n 1; }
until_ready test -S /scratch/fpm.sock
while more; do
    for _ in 1 2 3 4 5; do equal jit 'primes 1229' "$(ask primes.php)"; done
    # It executes itself again, and its children with it.
    kill -USR2 "$(cat /scratch/fpm.pid)"
    until_ready sh -c 'grep -c "ready to handle" /scratch/fpm.log | grep -qx '$((rounds + 1))
    until_ready cgi-fcgi -bind -connect /scratch/fpm.sock
done
