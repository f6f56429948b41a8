export HOME=/tmp
mkdir -p /scratch
while more; do
    echo "line $rounds" >/scratch/file
    vim -es -u NONE -S /opt/app/plugin.vim -c "call setline(1, Answer($rounds))" -c wq /scratch/file </dev/null || true
    equal edited "answer $rounds" "$(cat /scratch/file)"
    vim -es -u NONE -c "%!/opt/app/start.sh filtered" -c wq /scratch/file </dev/null || true
    equal filtered 'answer filtered' "$(cat /scratch/file)"
done
