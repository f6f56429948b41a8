export HOME=/tmp
while more; do
    equal forked 'forked 41' "$(node /opt/app/fork.js)"
    equal standard 42 "$(node - <<<'console.log(6 * 7)')"
    equal module 42 "$(node --input-type=module -e 'import os from "os"; console.log(6 * 7)')"
    equal jitless 42 "$(node --jitless -p '6*7' 2>/dev/null)"
    equal profile 42 "$(cd /tmp && node --cpu-prof --cpu-prof-dir=/tmp -p '6*7')"
done
