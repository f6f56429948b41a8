mkdir -p /scratch && cd /scratch && export HOME=/tmp
while more; do
    echo "(defun answer () $rounds)" >answer.lisp
    ecl --norc --eval '(progn (compile-file "answer.lisp") (quit))' >/dev/null 2>&1
    equal loaded "$rounds" "$(ecl --norc --eval '(progn (load "answer.fas" :verbose nil) (princ (answer)) (quit))' 2>/dev/null | tail -n 1)"
done
