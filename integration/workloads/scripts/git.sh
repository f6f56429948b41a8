mkdir -p /scratch && cd /scratch
git config --global user.name t; git config --global user.email t@example.com
git config --global init.defaultBranch main; git config --global safe.directory '*'
while more; do
    rm -rf origin.git one two
    git init -q --bare origin.git
    git clone -q origin.git one 2>/dev/null
    cd one
    for n in 1 2 3; do
        cp /opt/app/start.sh "start-$n.sh"; echo "line $n" >>file
        git add -A; git commit -qm "commit $n"
    done
    git checkout -qb side; echo side >side; git add side; git commit -qm side
    git checkout -q main; echo main >main; git add main; git commit -qm main
    git merge -q -m merge side
    git push -q origin main 2>/dev/null
    equal commits 6 "$(git rev-list --count HEAD)"
    git gc -q
    git fsck --strict >/dev/null
    cd ..
    git clone -q origin.git two
    equal tree "$(git -C one rev-parse 'HEAD^{tree}')" "$(git -C two rev-parse 'HEAD^{tree}')"
    equal diff '' "$(git -C two diff HEAD)"
    equal stash 3 "$(git -C two grep -c line file | cut -d: -f2)"
done
