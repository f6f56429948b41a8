export GUILE_AUTO_COMPILE=0
while more; do
    equal JIT 1229 "$(GUILE_JIT_THRESHOLD=0 guile -c '
(define (prime? n) (let loop ((d 2)) (cond ((> (* d d) n) #t) ((zero? (modulo n d)) #f) (else (loop (+ d 1))))))
(display (let loop ((n 2) (c 0)) (if (= n 10000) c (loop (+ n 1) (if (prime? n) (+ c 1) c)))))')"
    equal script "answer $rounds" "$(guile -s /opt/app/answer.scm "$rounds")"
done
