while more; do
    equal program "run $rounds" "$(/config/run.sh "$rounds")"
    equal argument "run $rounds" "$(sh /config/run.sh "$rounds")"
    equal python "check $rounds" "$(python3 /config/check.py "$rounds")"
    equal data 42 "$(sed -n 's/^answer = //p' /config/settings.conf)"
done
