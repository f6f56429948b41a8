# A program and a library, each as it is used: before its first use and after.
libraries=/usr/lib/x86_64-linux-gnu
while more; do
    chown 1500 /usr/bin/sort; chmod 0755 /usr/bin/wc; touch /usr/bin/cut
    equal programs 2 "$(printf 'b\na\n' | sort | wc -l | cut -d' ' -f1)"
    chown 1500 "$libraries"/libz.so.1.*; chmod 0644 "$libraries"/libzstd.so.1.*
    equal library 0 "$(git hash-object --stdin </dev/null >/dev/null; echo $?)"
    touch "$libraries/libc.so.6"
    equal loader 1 "$(echo x | grep -c x)"
    touch "$libraries/ld-linux-x86-64.so.2"
    equal 'after the loader' 2 "$(seq 2 | tail -n 1)"
    chown -R 1500 /opt/app
    equal script "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    mv /usr/bin/tac /usr/bin/tac.away; mv /usr/bin/tac.away /usr/bin/tac
    equal 'away and back' 1 "$(seq 2 | tac | tail -n 1)"
    ln -f /usr/bin/expr /usr/bin/expr.too; rm /usr/bin/expr.too
    equal 'linked and not' 3 "$(expr 1 + 2)"
done
