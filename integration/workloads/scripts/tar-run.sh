mkdir -p /scratch && cd /scratch
while more; do
    tar -cf all.tar -C / usr/bin/env opt/app
    rm -rf out && mkdir out && tar -xf all.tar -C out
    equal program "$rounds" "$(out/usr/bin/env N="$rounds" sh -c 'echo $N')"
    equal script "answer $rounds" "$(out/opt/app/start.sh "$rounds")"
done
