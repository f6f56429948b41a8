export HOME=/tmp
while more; do
    equal primes 'primes 1229' "$(ecl --shell /opt/app/primes.lisp)"
    equal clisp 'primes 1229' "$(clisp -q -norc /opt/app/primes.lisp)"
    equal compiled 42 "$(clisp -q -norc -x '(progn (defun f (n) (* 6 n)) (compile (quote f)) (princ (f 7)) (values))' | grep -o 42)"
done
