while more; do
    equal 'env -S' "env $rounds" "$(/opt/app/bin/env-script "$rounds")"
    equal nested "nested $rounds" "$(/opt/app/bin/nested "$rounds")"
    equal polyglot "poly $rounds" "$(/opt/app/bin/poly "$rounds")"
    equal path "poly $rounds" "$(PATH=/opt/app/bin:$PATH poly "$rounds")"
    equal directory "poly $rounds" "$(cd /opt/app/bin && ./poly "$rounds")"
    equal standard "answer $rounds" "$(cd /opt/app && sh -s "$rounds" <<<'. ./common.sh; answer "$1"')"
    equal descriptor "poly $rounds" "$(python3 -B /dev/fd/9 "$rounds" 9</opt/app/bin/poly)"
    equal 'standard input' "poly $rounds" "$(python3 -B - "$rounds" </opt/app/bin/poly)"
done
