mkdir -p /scratch && cd /scratch
build() {
    rm -rf pkg && mkdir -p pkg/DEBIAN pkg/usr/bin
    echo "Package: hello-$1
Version: 1.$1
Architecture: all
Maintainer: t <t@example.com>
Description: a test" >pkg/DEBIAN/control
    for step in preinst postinst prerm postrm; do
        printf '#!/bin/sh\necho "%s $1" >>/scratch/steps\n' "$step" >"pkg/DEBIAN/$step"
        chmod 755 "pkg/DEBIAN/$step"
    done
    printf '#!/bin/sh\necho hello %s\n' "$1" >"pkg/usr/bin/hello-$1"
    chmod 755 "pkg/usr/bin/hello-$1"
    dpkg-deb --root-owner-group -b pkg hello.deb >/dev/null
}
while more; do
    rm -f steps
    build "$rounds"
    dpkg -i hello.deb >/dev/null
    equal ran "hello $rounds" "$("hello-$rounds")"
    equal status installed "$(dpkg-query -W -f '${db:Status-Status}' "hello-$rounds")"
    dpkg -P "hello-$rounds" >/dev/null
    equal steps 'preinst install,postinst configure,prerm remove,postrm remove,postrm purge' \
        "$(paste -sd, steps)"
done
