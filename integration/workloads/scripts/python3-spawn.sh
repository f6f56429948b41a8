export PYTHONDONTWRITEBYTECODE=1
mkdir -p /scratch
while more; do
    equal spawn '[1, 4, 9]' "$(cd /opt/app && python3 - <<'END'
from concurrent.futures import ProcessPoolExecutor
import math
if __name__ == "__main__":
    with ProcessPoolExecutor(2) as p: print([int(x) for x in p.map(math.pow, [1, 2, 3], [2, 2, 2])])
END
)"
    equal module 'primes 25' "$(cd /opt/app && python3 -m primes 100)"
    equal runpy 'primes 25' "$(python3 -c 'import runpy, sys; sys.argv = ["x", "100"]; runpy.run_path("/opt/app/primes.py", run_name="__main__")')"
    equal shared 5 "$(python3 -c 'from multiprocessing import shared_memory as s
m = s.SharedMemory(create=True, size=5); print(len(bytes(m.buf)[:5])); m.close(); m.unlink()')"
    equal pickled "$rounds" "$(python3 -c "import pickle, dbm, shelve
pickle.dump($rounds, open('/scratch/p', 'wb')); print(pickle.load(open('/scratch/p', 'rb')))")"
    equal tempfile 0 "$(python3 -c 'import tempfile, mmap
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 4096); f.flush(); mmap.mmap(f.fileno(), 4096); print(0)')"
done
