while more; do
    equal JIT 1229 "$(luajit -O3 -Ohotloop=2 /opt/app/primes.lua)"
    equal FFI 5 "$(luajit -e 'local ffi = require("ffi"); ffi.cdef("int abs(int);"); print(ffi.C.abs(-5))')"
    equal status true "$(luajit -e 'print((jit.status()))')"
done
