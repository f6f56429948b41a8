while more; do
    equal program "answer $rounds" "$(mono /opt/app/answer.exe "$rounds")"
done
