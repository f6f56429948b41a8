puts "answer [lindex $argv 0]"
