while more; do
    # It loads the program as data, and runs it from its own memory.
    equal static "twice 6" "$(qemu-x86_64-static /opt/app/bin/target-static 3)"
    equal dynamic "twice 6" "$(qemu-x86_64-static /opt/app/bin/target 3)"
    equal shell "$rounds" "$(qemu-x86_64-static /bin/busybox sh -c "echo $rounds")"
done
