mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh
useradd -m -s /bin/bash joe
ssh-keygen -A >/dev/null
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id
mkdir -p ~joe/.ssh && cp /root/.ssh/id.pub ~joe/.ssh/authorized_keys && chown -R joe: ~joe/.ssh
/usr/sbin/sshd -p 2222
ssh() { command ssh -q -F none -i /root/.ssh/id -p 2222 -o StrictHostKeyChecking=no \
    -o UserKnownHostsFile=/dev/null -o ConnectTimeout=30 joe@127.0.0.1 "$@"; }
until_ready ssh true
mkdir -p /scratch
while more; do
    equal who joe "$(ssh id -un)"
    equal pipe "$(sha256sum </usr/bin/env)" "$(ssh sha256sum </usr/bin/env)"
    rsync -a -e 'ssh -q -F none -i /root/.ssh/id -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null' \
        /opt/app/ joe@127.0.0.1:app/
    equal copied '' "$(diff -r /opt/app ~joe/app)"
done
