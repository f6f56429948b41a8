def say(n): print("answer", n)
