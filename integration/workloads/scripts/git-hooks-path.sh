mkdir -p /scratch && cd /scratch
git config --global user.name t; git config --global user.email t@example.com
git config --global core.hooksPath /opt/app/hooks
git init -q repo && cd repo
while more; do
    rm -f /scratch/hooked
    echo "$rounds" >file
    git add file
    git commit -qm "commit $rounds"
    equal hooked hooked "$(cat /scratch/hooked)"
    # By the editor and the shell that git runs.
    GIT_EDITOR='sed -i s/commit/again/' git commit -q --amend
    equal amended "again $rounds" "$(git log -1 --format=%s)"
    equal alias "again $rounds" "$(git -c alias.said='!git log -1 --format=%s' said)"
    equal bisect 0 "$(git rebase -q --exec /opt/app/hooks/pre-commit --root >/dev/null 2>&1; echo $?)"
done
