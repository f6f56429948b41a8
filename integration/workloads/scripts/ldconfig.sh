mkdir -p /scratch/lib && cd /scratch
cp /usr/lib/x86_64-linux-gnu/libz.so.1.* lib/
echo /scratch/lib >/etc/ld.so.conf.d/work.conf
while more; do
    ldconfig
    equal cached 1 "$(ldconfig -p | grep -c '/scratch/lib/libz.so.1$')"
    rm -f /scratch/lib/libz.so.1
    ldconfig -r / -C /tmp/cache
    equal date 1970 "$(date -u -d @0 +%Y)"
done
