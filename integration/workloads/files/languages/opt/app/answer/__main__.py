import sys; from answer.answer_module import say; say(sys.argv[1])
