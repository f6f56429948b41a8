chmod 700 /opt/app/conf/monitrc
