while more; do
    user=joe$rounds
    cat /etc/passwd >/dev/null; useradd -m -s /bin/bash "$user"
    echo "$user:secret" | chpasswd
    groupadd "team$rounds" && usermod -aG "team$rounds" "$user"
    equal groups "$user team$rounds" "$(id -nG "$user")"
    equal su "$user" "$(su "$user" -c 'id -un')"
    equal login "/home/$user" "$(su - "$user" -c pwd)"
    equal setpriv "$(id -u "$user")" "$(setpriv --reuid="$user" --clear-groups --regid="$user" id -u)"
    chage -M 90 "$user"; passwd -l "$user" >/dev/null
    userdel -r "$user" 2>/dev/null; groupdel "team$rounds"
    equal gone 1 "$(id "$user" >/dev/null 2>&1; echo $?)"
done
