mkdir -p /run/systemd/system
while more; do
    printf '[Service]\nType=oneshot\nPrivateTmp=yes\nUser=nobody\nExecStart=/bin/sh -c "echo %s"\nStandardOutput=truncate:/run/step\n' \
        "$rounds" >/run/systemd/system/step.service
    systemctl daemon-reload
    systemctl start step.service
    equal unit "$rounds" "$(cat /run/step)"
    systemctl start tick.service
    systemctl start echo.socket
    equal socket HELLO "$(python3 -c '
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/run/echo.sock")
s.sendall(b"hello"); s.shutdown(socket.SHUT_WR)
print(s.recv(99).decode())')"
    equal ticks 0 "$([ -s /var/lib/private/tick/ticks ]; echo $?)"
done
equal failed '' "$(systemctl list-units --state=failed --no-legend | grep -o -e work -e tick -e echo || true)"
