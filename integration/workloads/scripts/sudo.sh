useradd -m joe
echo 'joe ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/joe && chmod 440 /etc/sudoers.d/joe
visudo -c >/dev/null
while more; do
    equal root root "$(su joe -c 'sudo -n id -un')"
    equal script "answer $rounds" "$(su joe -c "sudo -n /opt/app/start.sh $rounds")"
    equal other nobody "$(su joe -c 'sudo -n -u nobody id -un')"
done
