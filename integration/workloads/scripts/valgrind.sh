mkdir -p /scratch
while more; do
    # It loads the program itself, and translates it into memory.
    equal memcheck "twice 4" "$(valgrind -q /opt/app/bin/target 2 2>/scratch/errors)"
    equal errors '' "$(cat /scratch/errors)"
    equal children "answer $rounds" "$(valgrind -q --trace-children=yes --tool=none /opt/app/start.sh "$rounds" 2>/dev/null)"
    equal callgrind 0 "$(valgrind -q --tool=callgrind --callgrind-out-file=/scratch/calls /opt/app/bin/target 1 >/dev/null; grep -q twice /scratch/calls; echo $?)"
done
