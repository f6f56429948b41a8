mkdir -p /scratch && cd /scratch
export HOME=/tmp npm_config_update_notifier=false npm_config_cache=/tmp/npm
while more; do
    rm -rf app hello && mkdir app hello
    echo '{"name": "hello", "version": "1.0.0", "bin": {"hello": "hello.js"}, "scripts": {"postinstall": "node hello.js installed >&2"}}' >hello/package.json
    printf '#!/usr/bin/env node\nconsole.log("hello " + process.argv[2])\n' >hello/hello.js
    chmod +x hello/hello.js
    (cd hello && npm pack --silent >/dev/null 2>&1)
    cd app && echo '{"name": "app", "version": "1.0.0"}' >package.json
    npm install --silent --offline --no-audit --no-fund ../hello/hello-1.0.0.tgz >/dev/null 2>&1
    equal command "hello $rounds" "$(npx --no-install hello "$rounds")"
    equal module "hello x" "$(node -e 'process.argv[2] = "x"; require("hello/hello.js")')"
    cd ..
done
