mkdir -p /scratch && cd /scratch
while more; do
    rm -rf one two; mkdir one
    cp -r /etc /usr/lib/git-core/mergetools one/
    for n in 1 2 3 4 5; do head -c 200000 /dev/urandom >"one/data-$n"; done
    rsync -aH one/ two/
    equal same '' "$(diff -r --no-dereference one two 2>&1)"
    echo changed >one/data-1; rm one/data-2
    equal changes 2 "$(rsync -aHi --delete one/ two/ | grep -cE 'data-(1|2)')"
    equal same '' "$(diff -r --no-dereference one two 2>&1)"
done
