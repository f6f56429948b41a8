mkdir -p /scratch/ldap && chown -R openldap: /scratch
slapd -f /opt/app/conf/slapd.conf -u openldap -g openldap -h ldapi://%2Fscratch%2Fldapi
tool() { local name=$1; shift; $name -x -H ldapi://%2Fscratch%2Fldapi -D cn=admin,dc=test -w secret "$@"; }
until_ready test -S /scratch/ldapi
printf 'dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: test\n' | tool ldapadd >/dev/null
while more; do
    printf 'dn: cn=p%s,dc=test\nobjectClass: person\ncn: p%s\nsn: s%s\n' "$rounds" "$rounds" "$rounds" | tool ldapadd >/dev/null
    equal found "s$rounds" "$(tool ldapsearch -LLL -b dc=test "(cn=p$rounds)" sn | sed -n 's/^sn: //p')"
done
