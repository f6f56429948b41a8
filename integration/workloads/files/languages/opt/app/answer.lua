print("answer " .. arg[1])
