mkdir -p /scratch
rsyslogd -f /opt/app/conf/rsyslog.conf -i /scratch/rsyslog.pid
until_ready test -S /scratch/log.sock
while more; do
    logger -u /scratch/log.sock "program $rounds"
    until_ready grep -q "program $rounds\$" /scratch/program.log
    equal program 1 "$(grep -c "^logged *program $rounds\$" /scratch/program.log)"
    equal file 1 "$(grep -c " program $rounds\$" /scratch/all.log)"
done
