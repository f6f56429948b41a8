(display "answer ") (display (cadr (command-line))) (newline)
