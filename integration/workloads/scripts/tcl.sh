while more; do
    equal tcl 'tcl 42' "$(echo 'puts "tcl [expr {6 * 7}]"' | tclsh)"
    equal script "answer $rounds" "$(tclsh /opt/app/answer.tcl "$rounds")"
done
