mkdir -p /scratch/root/{usr,opt,proc,tmp,srv} && ln -sfn usr/bin /scratch/root/bin
ln -sfn usr/lib /scratch/root/lib && ln -sfn usr/lib64 /scratch/root/lib64
while more; do
    equal chroot "answer $rounds" "$(unshare -m sh -ec "
        mount --bind /usr /scratch/root/usr; mount --bind /opt /scratch/root/opt
        chroot /scratch/root /opt/app/start.sh $rounds")"
    equal 'other name' "answer $rounds" "$(unshare -m sh -ec "mount --bind /opt/app /srv; cd /srv; ./start.sh $rounds")"
    equal pid 1 "$(unshare -p -f --mount-proc sh -c 'echo $$')"
    equal namespace "answer $rounds" "$(unshare -u -i -n /opt/app/start.sh "$rounds")"
done
