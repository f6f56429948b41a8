mkdir -p /scratch && cd /scratch
while more; do
    echo "#include <stdio.h>
int square(int x) { return x * x; }
int main(void) { printf(\"%d\\n\", square($rounds)); return 0; }" >prog.c
    equal 'run in memory' $((rounds * rounds)) "$(tcc -run prog.c)"
    tcc -c -o prog.o prog.c
    equal symbol ' T square' "$(nm prog.o | grep -o ' T square')"
done
