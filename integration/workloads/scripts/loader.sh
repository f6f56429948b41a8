# The loader by its own name, and what asks it.
loader=/lib64/ld-linux-x86-64.so.2
while more; do
    equal loader "twice 10" "$($loader /opt/app/bin/target 5)"
    equal preload "twice 10" "$($loader --preload /opt/app/bin/libanswer.so /opt/app/bin/target 5)"
    equal shell "$rounds" "$($loader /bin/bash -c "echo $rounds")"
    equal ldd 1 "$(ldd /usr/bin/git | grep -c libz)"
    equal verify 0 "$($loader --verify /bin/bash; echo $?)"
    equal diagnostics 1 "$($loader --list-diagnostics | grep -c ^dl_pagesize)"
    equal randomize "twice 2" "$(setarch -R /opt/app/bin/target 1)"
    equal 'link' "twice 2" "$(ln -sfn /opt/app/bin/target /tmp/t; /tmp/t 1)"
done
