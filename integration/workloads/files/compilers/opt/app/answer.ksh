function answer { print "answer $1"; }
answer "$1"
