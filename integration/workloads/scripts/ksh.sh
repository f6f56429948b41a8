export HOME=/tmp
while more; do
    equal ksh "answer $rounds" "$(ksh /opt/app/answer.ksh "$rounds")"
    equal mksh "answer $rounds" "$(mksh /opt/app/answer.ksh "$rounds")"
    equal tcsh "answer $rounds" "$(/opt/app/answer.csh "$rounds")"
    equal csh "$rounds" "$(tcsh -f -c "echo $rounds")"
    equal here "$rounds" "$(ksh <<<"print $rounds")"
done
