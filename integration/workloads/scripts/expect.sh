while more; do
    equal dialogue "told $rounds" "$(expect -f /opt/app/dialogue.exp "$rounds" | tr -d '\r' | tail -n 1)"
done
