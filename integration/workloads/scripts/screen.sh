export HOME=/tmp TERM=xterm SHELL=/bin/bash SCREENDIR=/tmp/screens
mkdir -p -m 700 $SCREENDIR
screen -dmS work
until_ready screen -S work -Q windows
while more; do
    rm -f /tmp/out
    screen -S work -X stuff "/opt/app/start.sh $rounds >/tmp/part; mv /tmp/part /tmp/out"$'\r'
    until_ready test -s /tmp/out
    equal stuffed "answer $rounds" "$(cat /tmp/out)"
    equal script "answer $rounds" "$(script -qec "/opt/app/start.sh $rounds" /dev/null | tr -d '\r')"
done
screen -S work -X quit
