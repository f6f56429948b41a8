mkdir -p /scratch && cd /scratch
printf 'int answer(void);\n#include <stdio.h>\nint main(void) { printf("%%d\\n", answer()); return 0; }\n' >main.c
while more; do
    rm -rf build && mkdir build && cd build
    libtool --quiet --tag=CC --mode=compile gcc -c -o library.lo /opt/app/library.c
    libtool --quiet --tag=CC --mode=link gcc -o libanswer.la library.lo -rpath /usr/local/lib
    gcc -c ../main.c
    libtool --quiet --tag=CC --mode=link gcc -o main main.o libanswer.la
    equal built 42 "$(./main)"
    cd ..
done
