# Texts that are given on a command line, in a folder where something changes all the time.
export HOME=/tmp
mkdir -p /scratch && cd /scratch
(while :; do : >"changed-$RANDOM"; rm -f changed-*; sleep 0.01; done) & changes=$!
long=$(printf 'var a%d = 1; ' $(seq 40))
while more; do
    echo "line $rounds" >file
    equal gjs 42 "$(gjs -c 'print(6 * 7)')"
    equal gjs 42 "$(gjs --command "$long print(6 * 7)")"
    equal clisp 42 "$(clisp -q -norc -x '(* 6 7)')"
    equal vim 0 "$(vim -es -u NONE -c 's/line/LINE/' -c wq file </dev/null; echo $?)"
    equal vim "LINE $rounds" "$(cat file)"
    equal ex 0 "$(printf 's/LINE/line/\nwq\n' | ex -s file; echo $?)"
    equal sed "LINE $rounds" "$(echo s/line/LINE/ | sed -f - file)"
    equal awk "$rounds" "$(echo '{ print $2 }' | mawk -f - file)"
    equal node 42 "$(node -pe '6 * 7')"
    equal perl "line $rounds" "$(perl -lne 'print if /line/' file)"
    equal ruby "line $rounds" "$(ruby -ne 'print if /line/' file)"
    equal python 42 "$(python3 -Xutf8 -Wignore -Bc 'print(6 * 7)')"
    equal php 42 "$(php -d display_errors=0 -r 'echo 6 * 7;' -- -x y)"
    equal lua 42 "$(lua5.4 -e 'print(6 * 7)')"
    equal prolog 42 "$(swipl -q -g 'X is 6 * 7, print(X)' -t halt)"
    equal emacs 42 "$(emacs -Q --batch --eval '(princ (* 6 7))')"
    equal zsh 42 "$(zsh -f -o extendedglob -c 'print $((6 * 7))' name)"
    equal fish 42 "$(fish --no-config --private -c 'math 6 x 7')"
    equal bash 42 "$(bash --norc -O extglob -euo pipefail -c 'echo $((6 * 7))' name)"
done
kill $changes
