mkdir -p /scratch && cd /scratch
export CCACHE_DIR=/scratch/ccache
cat >answer.c <<'END'
#include <math.h>
#include "answer.h"
double answer(double x) { return sqrt(x) * 42; }
END
echo 'double answer(double);' >answer.h
cat >main.c <<'END'
#include <stdio.h>
#include "answer.h"
int main(int c, char **v) { (void)v; printf("%f\n", answer(c)); return 0; }
END
cat >Makefile <<'END'
CC = ccache gcc
CFLAGS = -O2 -Wall -fPIC
all: prog libanswer.so libanswer.a
prog: main.o answer.o ; gcc -flto -o $@ $^ -lm
libanswer.so: answer.o ; gcc -shared -o $@ $^ -lm
libanswer.a: answer.o ; ar rcs $@ $^
clean: ; rm -f *.o prog lib*
END
while more; do
    make -s -j2 all
    equal symbol ' T answer' "$(nm libanswer.so | grep -o ' T answer')"
    equal needed 1 "$(readelf -d prog | grep -c 'NEEDED.*libc.so.6')"
    equal members answer.o "$(ar t libanswer.a)"
    equal copies "$(sha256sum <prog)" "$(cat prog | sha256sum)"
    make -s clean
done
