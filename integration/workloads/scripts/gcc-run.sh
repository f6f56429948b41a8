mkdir -p /scratch && cd /scratch
while more; do
    echo "#include <stdio.h>
int main(void) { printf(\"%d\\n\", 6 * 7 + $rounds); return 0; }" >prog.c
    gcc -O1 -o prog prog.c
    equal answer $((42 + rounds)) "$(./prog)"
done
