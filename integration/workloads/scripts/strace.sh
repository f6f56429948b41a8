mkdir -p /scratch
while more; do
    equal output "answer $rounds" "$(strace -f -o /scratch/trace /opt/app/start.sh "$rounds")"
    equal execve 0 "$(grep -q 'execve("/opt/app/start.sh"' /scratch/trace; echo $?)"
    equal injected 0 "$(strace -qq -o /scratch/trace -e trace=openat -e inject=openat:error=ENOENT:when=500 /bin/true; echo $?)"
    equal seccomp "twice 8" "$(strace -f --seccomp-bpf -e trace=execve -o /scratch/trace /opt/app/bin/target 4)"
    equal ltrace 'twice 10' "$(ltrace -o /scratch/calls /opt/app/bin/target 5)"
    equal calls 0 "$(grep -q -e atoi -e strtol /scratch/calls; echo $?)"
done
