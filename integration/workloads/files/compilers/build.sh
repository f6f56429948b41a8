chmod 755 /opt/app/start.sh /opt/app/answer.csh
php -d phar.readonly=0 /opt/app/make-phar.php /opt/app/app.phar && chmod 755 /opt/app/app.phar
