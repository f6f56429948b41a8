import cffi
ffi = cffi.FFI()
ffi.cdef("void qsort(void *, size_t, size_t, int (*)(const void *, const void *)); int abs(int);")
libc = ffi.dlopen(None)
@ffi.callback("int(const void *, const void *)")
def compare(a, b): return ffi.cast("int *", a)[0] - ffi.cast("int *", b)[0]
values = ffi.new("int[]", [3, 1, 2])
libc.qsort(values, 3, ffi.sizeof("int"), compare)
print("sorted", *values)
