mkdir -p /scratch && cd /scratch
svnadmin create repository
svn -q checkout file:///scratch/repository work && cd work
while more; do
    echo "$rounds" >"file-$rounds"
    svn -q add "file-$rounds" && svn -q commit -m "commit $rounds"
    svn -q update
    equal revision "$rounds" "$(svn info --show-item revision)"
    equal log 1 "$(svn log -r "$rounds" -q | grep -c "^r$rounds ")"
done
equal verify 0 "$(svnadmin -q verify ../repository; echo $?)"
