mkdir -p /scratch && cd /scratch
git config --global user.name t; git config --global user.email t@example.com
git init -q repo && cd repo
printf '#!/bin/sh\necho hooked >>/scratch/hooked\n' >.git/hooks/pre-commit
chmod +x .git/hooks/pre-commit
while more; do
    echo "$rounds" >file
    git add file
    git commit -qm "commit $rounds"
    equal hooks "$rounds" "$(wc -l </scratch/hooked)"
done
