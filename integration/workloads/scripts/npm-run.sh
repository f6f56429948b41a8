cd /opt/app/node-app
export HOME=/tmp npm_config_update_notifier=false npm_config_cache=/tmp/npm
while more; do
    equal script "answer $rounds" "$(npm run -s answer -- "$rounds")"
done
