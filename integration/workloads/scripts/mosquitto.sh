mkdir -p /scratch
mosquitto -p 1884 -d
until_ready mosquitto_pub -p 1884 -t ready -m 1
while more; do
    mosquitto_pub -p 1884 -t work -r -m "message $rounds"
    equal message "message $rounds" "$(mosquitto_sub -p 1884 -t work -C 1 -W 30)"
done
