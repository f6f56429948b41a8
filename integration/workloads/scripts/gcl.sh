# It executes itself again, with all that may be read to be executed; it loads what it has
# compiled into its own memory.
mkdir -p /scratch && cd /scratch
while more; do
    equal primes 'primes 1229' "$(gcl -batch -load /opt/app/primes.lisp </dev/null)"
    equal compiled 42 "$(gcl -eval '(progn (defun f (n) (* n 6)) (compile (quote f)) (princ (f 7)) (bye))' </dev/null 2>/dev/null | tail -n 1)"
done
