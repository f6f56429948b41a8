mkdir -p /scratch/repo && cd /scratch/repo
printf 'deb [trusted=yes] file:/scratch/repo ./\n' >/scratch/local.list
apt_get() {
    apt-get -qq -o Dir::Etc::SourceList=/scratch/local.list -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@"
}
while more; do
    rm -rf pkg ./*.deb && mkdir -p pkg/DEBIAN pkg/usr/bin
    echo "Package: hello
Version: 1.$rounds
Architecture: all
Maintainer: t <t@example.com>
Description: a test" >pkg/DEBIAN/control
    printf '#!/bin/sh\necho installed >>/scratch/steps\n' >pkg/DEBIAN/postinst
    printf '#!/bin/sh\necho hello %s\n' "$rounds" >pkg/usr/bin/hello
    chmod 755 pkg/DEBIAN/postinst pkg/usr/bin/hello
    dpkg-deb --root-owner-group -b pkg "hello_$rounds.deb" >/dev/null
    {
        dpkg-deb -f "hello_$rounds.deb"
        echo "Filename: ./hello_$rounds.deb"
        echo "Size: $(stat -c %s "hello_$rounds.deb")"
        echo "SHA256: $(sha256sum "hello_$rounds.deb" | cut -d' ' -f1)"
    } >Packages
    apt_get update
    apt_get install -y hello >/dev/null
    equal ran "hello $rounds" "$(hello)"
    equal steps "$rounds" "$(wc -l </scratch/steps)"
done
