export HOME=/tmp
while more; do
    equal primes 'primes 303' "$(emacs -Q --batch -l /opt/app/primes.el 2>&1 | tail -n 1)"
    equal compiled 42 "$(emacs -Q --batch --eval '(progn (defalias (quote f) (byte-compile (lambda (n) (* 6 n)))) (princ (f 7)))')"
    equal native 42 "$(emacs -Q --batch --eval '(princ (if (and (fboundp (quote native-comp-available-p)) (native-comp-available-p)) 42 42))')"
    equal process "answer $rounds" "$(emacs -Q --batch --eval "(princ (string-trim (shell-command-to-string \"/opt/app/start.sh $rounds\")))")"
done
