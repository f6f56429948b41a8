echo 'piped: "|/opt/app/start.sh piped >>/tmp/piped"' >>/etc/aliases
postconf -e 'myhostname=box.test' 'mydestination=box.test,localhost' 'inet_interfaces=loopback-only' \
    'mynetworks=127.0.0.0/8' 'mailbox_size_limit=0' 'maillog_file=/var/log/postfix.log' 'mailbox_command=' 'home_mailbox=' \
    'compatibility_level=3.6'
newaliases
useradd -m joe
postfix start 2>/dev/null
until_ready sh -c 'postfix status'
while more; do
    printf 'Subject: %s\n\nbody %s\n' "$rounds" "$rounds" | sendmail -f root@box.test joe@box.test
    until_ready grep -q "^body $rounds\$" /var/mail/joe
    equal mail 1 "$(grep -c "^body $rounds\$" /var/mail/joe)"
    printf 'Subject: pipe\n\nx\n' | sendmail -f root@box.test piped@box.test
    until_ready sh -c "[ \$(wc -l </tmp/piped) -ge $rounds ]"
    equal piped 'answer piped' "$(tail -n 1 /tmp/piped)"
done
postfix stop 2>/dev/null
