# By the image's own scripts: of init, of packages, of certificates.
mkdir -p /scratch
while more; do
    service cron start >/dev/null
    equal cron 0 "$(service cron status >/dev/null; echo $?)"
    service cron stop >/dev/null
    service atd start >/dev/null
    equal atd 0 "$(pgrep -x atd >/dev/null; echo $?)"
    service atd stop >/dev/null
    equal certificates 0 "$(update-ca-certificates --fresh >/dev/null 2>&1; echo $?)"
    equal bundle 0 "$(test -s /etc/ssl/certs/ca-certificates.crt; echo $?)"
    equal reconfigured 0 "$(DEBIAN_FRONTEND=noninteractive dpkg-reconfigure ca-certificates >/dev/null 2>&1; echo $?)"
    phpdismod opcache && equal disabled 0 "$(php -m | grep -ci opcache || true)"
    phpenmod opcache && equal enabled 0 "$(php -m >/scratch/modules; grep -qi opcache /scratch/modules; echo $?)"
    update-rc.d cron disable 2>/dev/null; update-rc.d cron enable 2>/dev/null
done
