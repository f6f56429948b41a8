mkdir -p /scratch && cd /scratch
a2enmod -q cgid rewrite headers >/dev/null
cat >/etc/apache2/sites-available/000-default.conf <<'END'
<VirtualHost *:80>
    DocumentRoot /opt/app/www
    <Directory /opt/app/www>
        Require all granted
        Options +ExecCGI
        AddHandler cgi-script .cgi
    </Directory>
</VirtualHost>
END
echo ServerName localhost >>/etc/apache2/apache2.conf
mkdir -p /run/lock
export APACHE_ULIMIT_MAX_FILES=true
apachectl start
until_ready curl -fs http://127.0.0.1/index.html
while more; do
    equal static "$(cat /opt/app/www/index.html)" "$(curl -fs http://127.0.0.1/index.html)"
    equal 'CGI of sh' "sh n=$rounds" "$(curl -fs "http://127.0.0.1/answer.cgi?n=$rounds")"
    equal 'CGI of perl' "perl n=$rounds" "$(curl -fs "http://127.0.0.1/perl.cgi?n=$rounds")"
    equal PHP "php $((rounds * rounds))" "$(curl -fs "http://127.0.0.1/answer.php?n=$rounds")"
    if [ $((rounds % 20)) = 0 ]; then apachectl graceful; sleep 0.5; fi
done
