export HOME=/tmp
while more; do
    equal autoload "answer $rounds" "$(zsh -fc "fpath=(/opt/app/functions \$fpath); autoload -Uz answer; answer $rounds")"
    equal modules 1 "$(zsh -fc 'zmodload zsh/mathfunc zsh/datetime zsh/zpty zsh/net/tcp; print $(( int(sqrt(1)) ))')"
    equal completions 0 "$(zsh -fc 'autoload -Uz compinit; compinit -D -u; print $?')"
    equal substitution "answer $rounds" "$(zsh -fc "cat =(/opt/app/start.sh $rounds)")"
done
