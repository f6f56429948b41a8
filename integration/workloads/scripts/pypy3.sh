export PYTHONDONTWRITEBYTECODE=1
while more; do
    equal primes 'primes 2262' "$(pypy3 /opt/app/primes.py 20000)"
    equal ffi 3 "$(pypy3 -c 'import ctypes; print(ctypes.CDLL(None).abs(-3))')"
done
