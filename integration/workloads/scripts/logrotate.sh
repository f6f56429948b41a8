mkdir -p /scratch && chmod 755 /scratch
while more; do
    rm -f /scratch/rotated
    echo "line $rounds" >>/scratch/log
    logrotate -f -s /scratch/status /opt/app/conf/logrotate
    equal scripts 'answer before,answer rotated' "$(paste -sd, /scratch/rotated)"
    equal rotated "line $rounds" "$(zcat /scratch/log.1.gz)"
done
