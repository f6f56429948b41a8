mkdir -p /scratch
export HOME=/tmp
dbus-daemon --session --fork --address=unix:path=/scratch/bus
export DBUS_SESSION_BUS_ADDRESS=unix:path=/scratch/bus
# Started by the bus; it says nothing there, and is not started again while that is waited for.
dbus-send --type=method_call --dest=test.lacre.Answer / test.lacre.Answer.Tell
until_ready test -s /scratch/activated
while more; do
    equal names 1 "$(dbus-send --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames | grep -c '"org.freedesktop.DBus"')"
    equal activated activated "$(cat /scratch/activated)"
    equal session "answer $rounds" "$(dbus-run-session -- /opt/app/start.sh "$rounds")"
done
