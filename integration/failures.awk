# What each test that failed said first, of a log of `cargo test`: so that it stands together
# at the end of a long log. Backtraces and daemons' logs stay where they are.

/^---- .* stdout ----$/ { print ""; print; left = 12; next }
/^(failures:|stack backtrace:|the end of the daemon's log:)$/ { left = 0 }
left > 0 { print substr($0, 1, 400); left-- }
