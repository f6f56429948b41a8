mkdir -p /scratch && cd /scratch
while more; do
    for how in z J; do
        tar "-c${how}f" all.tar -C / usr/lib/git-core/mergetools usr/bin/env opt/app 2>/dev/null
        rm -rf out && mkdir out && tar -xf all.tar -C out
        equal same '' "$(diff -r /opt/app out/opt/app)"
        equal program '' "$(cmp /usr/bin/env out/usr/bin/env)"
    done
    (cd out && zip -qr ../all.zip .) && rm -rf un && unzip -q all.zip -d un
    equal same '' "$(diff -r out/opt un/opt)"
done
