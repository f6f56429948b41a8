mkdir -p /scratch
supervisord -c /opt/app/conf/supervisord.conf
ctl() { supervisorctl -c /opt/app/conf/supervisord.conf "$@"; }
until_ready test -s /scratch/ticker.log
while more; do
    equal short "answer short" "$(tail -n 1 /scratch/short.log)"
    old=$(ctl pid ticker)
    kill -9 "$old"
    until_ready sh -c "supervisorctl -c /opt/app/conf/supervisord.conf pid ticker | grep -qvx -e '$old' -e 0"
    equal restarted 'ticker: stopped,ticker: started' "$(ctl restart ticker | paste -sd,)"
    ctl start short >/dev/null
done
ctl shutdown >/dev/null
