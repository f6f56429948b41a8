while more; do
    # The image's own files, at other names, in namespaces of their own.
    equal whole "answer $rounds" "$(bwrap --ro-bind / / --dev /dev --proc /proc --unshare-pid /opt/app/start.sh "$rounds")"
    equal parts "answer $rounds" "$(bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
        --ro-bind /opt/app /srv --tmpfs /tmp --unshare-pid --unshare-ipc --unshare-net /srv/start.sh "$rounds")"
    equal python "loaded 42" "$(bwrap --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --ro-bind /opt/app /opt/app \
        --unshare-pid --unshare-uts /usr/bin/python3 -B /opt/app/bin/loaded.py)"
done
