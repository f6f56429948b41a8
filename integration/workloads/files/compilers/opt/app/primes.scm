(define (prime? n) (let go ((d 2)) (cond ((> (* d d) n) #t) ((zero? (modulo n d)) #f) (else (go (+ d 1))))))
(print "primes " (let go ((i 2) (c 0)) (if (= i 10000) c (go (+ i 1) (if (prime? i) (+ c 1) c)))))
