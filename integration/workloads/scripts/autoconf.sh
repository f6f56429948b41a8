mkdir -p /scratch && cd /scratch
export TMPDIR=/scratch
while more; do
    rm -rf pkg && mkdir pkg && cd pkg
    cat >configure.ac <<'END'
AC_INIT([answer], [1.0])
AM_INIT_AUTOMAKE([foreign])
AC_PROG_CC
AC_CHECK_FUNCS([printf])
AC_CHECK_SIZEOF([long])
AC_CONFIG_FILES([Makefile])
AC_CONFIG_HEADERS([config.h])
AC_OUTPUT
END
    echo 'bin_PROGRAMS = answer
answer_SOURCES = answer.c' >Makefile.am
    echo '#include <stdio.h>
#include "config.h"
int main(void) { printf("%d\n", SIZEOF_LONG); return 0; }' >answer.c
    autoreconf -i >/dev/null 2>&1
    ./configure >/dev/null
    make -s >/dev/null
    equal answer 8 "$(./answer)"
    cd ..
done
