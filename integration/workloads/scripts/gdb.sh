while more; do
    # Breakpoints are written into the program's code, and a call makes code on its stack.
    equal breakpoint 'n = 21' "$(gdb -q -nx -batch -ex 'break twice' -ex "run 21" -ex 'info args' /opt/app/bin/target 2>/dev/null | grep '^n = ')"
    equal call '$1 = 42' "$(gdb -q -nx -batch -ex 'break main' -ex run -ex 'print twice(21)' /opt/app/bin/target 2>/dev/null | grep '^\$1')"
    equal library '$1 = 3' "$(gdb -q -nx -batch -ex 'break main' -ex run -ex 'print (int) abs(-3)' /opt/app/bin/target 2>/dev/null | grep '^\$1')"
    equal python 42 "$(gdb -q -nx -batch -ex 'python print(6 * 7)')"
    sleep 300 & sleeper=$!
    equal attach "process $sleeper" "$(gdb -q -nx -batch -p $sleeper -ex 'info inferiors' 2>/dev/null | grep -o 'process [0-9]*' | head -n 1)"
    kill $sleeper
done
