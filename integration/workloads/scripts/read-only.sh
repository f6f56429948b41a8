equal read-only 1 "$(touch /opt/x 2>/dev/null; echo $?)"
while more; do
    echo "$rounds" >/tmp/n
    equal data "$rounds" "$(sort -T /tmp /tmp/n)"
    equal script "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    equal git 0 "$(cd /tmp && rm -rf r && git init -q r && git -C r status --short | wc -l)"
done
