# Programs that are said, not kept: by pipes and standard input.
while more; do
    equal sourced "src $rounds" "$(. <(echo "echo src $rounds"))"
    equal stdin "in $rounds" "$(echo "echo in $rounds" | sh)"
    equal device "dev $rounds" "$(echo "echo dev $rounds" | sh /dev/stdin)"
    equal python "py $rounds" "$(echo "print('py $rounds')" | python3 -)"
    equal perl "pl $rounds" "$(echo "print 'pl $rounds'" | perl)"
    equal awk 42 "$(echo 'BEGIN { print 6 * 7 }' | awk -f -)"
    equal long 2000 "$(bash <<<"$(seq -f 'true %g' 1 20000; echo 'echo 2000')")"
done
