export HGRCPATH=/scratch/hgrc PYTHONDONTWRITEBYTECODE=1
mkdir -p /scratch && cd /scratch
printf '[ui]\nusername = t\n[hooks]\ncommit = /opt/app/start.sh hooked >>/scratch/hooked\n' >hgrc
hg init repository && cd repository
while more; do
    echo "$rounds" >file
    hg -q add file 2>/dev/null; hg commit -m "commit $rounds"
    equal hooks "$rounds" "$(wc -l </scratch/hooked)"
    equal log "commit $rounds" "$(hg log -r tip -T '{desc}')"
    rm -rf ../clone && hg -q clone . ../clone
    equal clone "$rounds" "$(cat ../clone/file)"
done
