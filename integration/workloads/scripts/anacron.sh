mkdir -p /scratch/spool
printf 'SHELL=/bin/sh\n1 0 work /opt/app/start.sh anacron >>/scratch/out\n' >/scratch/anacrontab
while more; do
    rm -f /scratch/out
    anacron -f -n -d -s -t /scratch/anacrontab -S /scratch/spool 2>/dev/null
    equal job 'answer anacron' "$(cat /scratch/out)"
    # A daily job of the image's.
    equal daily 0 "$(run-parts --regex '^(dpkg|logrotate)$' /etc/cron.daily >/dev/null 2>&1; echo $?)"
done
