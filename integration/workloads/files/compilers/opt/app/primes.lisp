(defun prime-p (n) (loop for d from 2 while (<= (* d d) n) never (zerop (mod n d))))
(format t "primes ~a~%" (loop for i from 2 below 10000 count (prime-p i)))
