export RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_MNESIA_BASE=/var/lib/rabbitmq/mnesia HOME=/var/lib/rabbitmq
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+sbwt none'
chown -R rabbitmq: /var/lib/rabbitmq /var/log/rabbitmq
rabbitmq-server -detached >/dev/null 2>&1
until_ready rabbitmqctl -q await_startup
rabbitmqctl -q add_user joe secret >/dev/null
while more; do
    equal eval 42 "$(rabbitmqctl -q eval '6 * 7.')"
    rabbitmqctl -q add_vhost "v$rounds" >/dev/null
    rabbitmqctl -q set_permissions -p "v$rounds" joe '.*' '.*' '.*'
    equal user 1 "$(rabbitmqctl -q list_permissions -p "v$rounds" | grep -c joe)"
    rabbitmqctl -q delete_vhost "v$rounds" >/dev/null
done
rabbitmqctl -q stop
