# A program of the image is led to another name, and its owner is noted down; its package's own scripts run again.
while more; do
    dpkg-divert --quiet --local --rename --divert /usr/bin/env.real --add /usr/bin/env
    equal diverted "A=$rounds" "$(/usr/bin/env.real -i "A=$rounds")"
    dpkg-divert --quiet --local --rename --remove /usr/bin/env
    equal back "A=$rounds" "$(env -i "A=$rounds")"
    dpkg-statoverride --quiet --update --add root root 0700 /opt/app/start.sh
    equal override "answer $rounds" "$(/opt/app/start.sh "$rounds")"
    dpkg-statoverride --quiet --remove /opt/app/start.sh && chmod 755 /opt/app/start.sh
    equal reconfigured 0 "$(DEBIAN_FRONTEND=noninteractive dpkg-reconfigure base-passwd >/dev/null 2>&1; echo $?)"
    equal verified '' "$(dpkg --verify coreutils | grep -v /usr/share/ || true)"
done
