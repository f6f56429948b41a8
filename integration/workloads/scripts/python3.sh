mkdir -p /scratch && cd /scratch
while more; do
    equal sums "$(sha256sum </usr/bin/env | cut -d' ' -f1)" "$(python3 -c '
import hashlib; print(hashlib.sha256(open("/usr/bin/env", "rb").read()).hexdigest())')"
    equal stdlib '42 ok [4, 5]' "$(python3 <<'END'
import asyncio, concurrent.futures, ctypes, decimal, json, multiprocessing, sqlite3, ssl, subprocess, zlib
db = sqlite3.connect(':memory:'); n = db.execute('select 6 * 7').fetchone()[0]
libc = ctypes.CDLL('libc.so.6'); assert libc.abs(-5) == 5
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 3)(3, 1, 2)
libc.qsort(numbers, 3, 4, callback(lambda a, b: a[0] - b[0])); assert list(numbers) == [1, 2, 3]
assert subprocess.run(['true']).returncode == 0
async def late(): await asyncio.sleep(0.01); return 'ok'
with multiprocessing.Pool(2) as pool: print(n, asyncio.run(late()), pool.map(int, '45'))
END
)"
    equal module "answer $rounds" "$(cd /opt/app && python3 -B -m answer "$rounds")"
done
