export HOME=/tmp TERM=xterm SHELL=/bin/bash
tmux -f /dev/null new-session -d -s work
while more; do
    rm -f /tmp/out
    tmux send-keys -t work "/opt/app/start.sh $rounds >/tmp/out; tmux wait-for -S done" Enter
    tmux wait-for done
    equal keys "answer $rounds" "$(cat /tmp/out)"
    tmux split-window -t work "/opt/app/start.sh pane >/tmp/pane; tmux wait-for -S pane"
    tmux wait-for pane
    equal pane 'answer pane' "$(cat /tmp/pane)"
    tmux run-shell "/opt/app/start.sh $rounds >/tmp/run"
    equal 'shell of tmux' "answer $rounds" "$(cat /tmp/run)"
done
tmux kill-server
