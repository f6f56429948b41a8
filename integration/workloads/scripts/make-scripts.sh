mkdir -p /scratch && cd /scratch
printf 'all: out\n%%.sh: %%.in\n\tsed s/@N@/$(N)/ $< >$@ && chmod +x $@\nout: gen.sh\n\t./gen.sh >$@\n\tsh gen.sh >>$@\n' >Makefile
printf '#!/bin/sh\necho made @N@\n' >gen.in
while more; do
    rm -f out gen.sh
    make -s N="$rounds"
    equal made "made $rounds,made $rounds" "$(paste -sd, out)"
done
