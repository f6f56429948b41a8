# What an image's entrypoint does that fills a volume: it copies the application, and serves it.
mkdir -p /srv/www && cp /opt/app/www/answer.php /srv/www/
sed -i 's|/var/www/html|/srv/www|' /etc/apache2/sites-available/000-default.conf
printf '<Directory /srv/www>\nRequire all granted\n</Directory>\nServerName localhost\n' \
    >>/etc/apache2/apache2.conf
mkdir -p /run/lock
export APACHE_ULIMIT_MAX_FILES=true
apachectl start
until_ready curl -s http://127.0.0.1/
while more; do
    equal PHP "php $((rounds * rounds))" "$(curl -fs "http://127.0.0.1/answer.php?n=$rounds")"
done
