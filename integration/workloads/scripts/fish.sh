export HOME=/tmp
while more; do
    equal autoload "answer $rounds" "$(fish -c "set -p fish_function_path /opt/app/functions; answer $rounds")"
    equal psub "answer $rounds" "$(fish -c "cat (/opt/app/start.sh $rounds | psub)")"
    equal universal "$rounds" "$(fish -c "set -U seen $rounds; echo \$seen")"
done
