useradd -m -s /bin/bash joe
while more; do
    # A shell that reads what was copied to its home: /etc/skel's.
    equal login joe "$(su - joe -c 'id -un')"
    equal interactive "joe $rounds" "$(su joe -c "bash -ic 'echo joe $rounds'" 2>/dev/null)"
    equal lines "answer $rounds" "$(su - joe <<<"/opt/app/start.sh $rounds")"
    equal home /home/joe "$(su -l joe -c 'echo $HOME')"
done
