(format t "answer ~a~%" (car (last sb-ext:*posix-argv*)))
