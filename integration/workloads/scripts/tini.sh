equal 'first process' tini "$(cat /proc/1/comm)"
while more; do
    # Who loses its parent is the first process's, and is waited for by it.
    child=$(sh -c 'sh -c "sleep 0.05" >/dev/null & echo $!')
    sleep 0.2
    equal reaped gone "$([ -e "/proc/$child" ] && cat "/proc/$child/status" || echo gone)"
done
