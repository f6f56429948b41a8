import numba, os
@numba.njit(cache=False)
def total(n):
    s = 0
    for i in range(n): s += i % 7
    return s
print("total", total(100000))
