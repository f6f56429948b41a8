mkdir -p /scratch && cd /scratch
while more; do
    seq 2000 >numbers
    equal sum 2001000 "$(gawk '{ s += $1 } END { print s }' numbers)"
    equal program "answer $rounds" "$(gawk -v n="$rounds" -f /opt/app/answer.awk)"
    equal extension 1 "$(gawk -l filefuncs 'BEGIN { print (stat("/opt/app", d) == 0) }')"
done
