mkdir -p /scratch && cd /scratch
while more; do
    equal compiled 1229 "$(sbcl --noinform --non-interactive --no-userinit --eval '
(progn
  (defun prime-p (n) (loop for d from 2 to (isqrt n) never (zerop (mod n d))))
  (compile (quote prime-p))
  (format t "~a~%" (loop for n from 2 below 10000 count (prime-p n))))')"
    equal script "answer $rounds" "$(sbcl --script /opt/app/answer.lisp "$rounds")"
done
