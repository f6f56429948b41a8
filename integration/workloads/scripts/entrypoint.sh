equal entrypoint ran "$ENTRYPOINT"
while more; do
    equal script "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    ln -sfn /opt/app "/tmp/current"
    equal 'by a link' "answer $rounds" "$(/tmp/current/start.sh "$rounds")"
done
