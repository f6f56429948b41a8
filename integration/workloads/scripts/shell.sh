mkdir -p /scratch && cd /scratch
while more; do
    equal -c 3 "$(sh -c 'echo $((1 + 2))')"
    equal heredoc 4 "$(bash <<'END'
n=0; for i in 1 2 3 4; do n=$((n + 1)); done; echo $n
END
)"
    equal pipe 5 "$(echo 'echo 5' | sh)"
    equal text 6 "$(printf '%s\n' a b c d e f | sed -n '$=' )"
    equal xargs 2 "$(printf '1\n2\n' | xargs -n 1 sh -c 'echo $0' | wc -l)"
    equal find 1 "$(find /opt/app -name start.sh -exec sh -c 'echo "$1"' _ {} \; | wc -l)"
    equal parallel 20 "$(for i in $(seq 20); do true & done; wait; seq 20 | wc -l)"
done
