mkdir -p /scratch && cd /scratch
while more; do
    equal source "answer $rounds" "$(java /opt/app/Answer.java "$rounds")"
    equal jshell 42 "$(echo 'System.out.println(6 * 7)' | jshell -s - | tail -n 1)"
done
