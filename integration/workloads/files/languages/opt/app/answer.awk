BEGIN { print "answer " ENVIRON["x"] n; exit }
