ngx.say("lua ", ngx.var.arg_n)
