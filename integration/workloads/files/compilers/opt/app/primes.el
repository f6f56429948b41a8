(require 'cl-lib)
(defun prime-p (n) (cl-loop for d from 2 while (<= (* d d) n) never (zerop (mod n d))))
(message "primes %d" (cl-loop for i from 2 below 2000 count (prime-p i)))
