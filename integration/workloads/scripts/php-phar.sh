while more; do
    equal phar "phar $rounds" "$(php /opt/app/app.phar "$rounds")"
    equal program "phar $rounds" "$(/opt/app/app.phar "$rounds")"
    equal read 42 "$(php -r 'echo 6 * 7;')"
    equal standard "$rounds" "$(php <<<"<?php echo $rounds;")"
    equal ffi 3 "$(php -d ffi.enable=1 -r 'echo FFI::cdef("int abs(int);")->abs(-3);')"
    php -S 127.0.0.1:8091 -t /opt/app >/dev/null 2>&1 & server=$!
    until_ready bash -c 'exec 3<>/dev/tcp/127.0.0.1/8091'
    kill $server; wait $server 2>/dev/null || true
done
