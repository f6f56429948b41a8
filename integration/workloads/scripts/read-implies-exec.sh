# All that may be read may be executed: what old compilers ask for.
mkdir -p /scratch && cd /scratch
seq 100000 >numbers
while more; do
    equal program "twice 2" "$(setarch -X /opt/app/bin/target 1)"
    equal script "answer $rounds" "$(setarch -X /opt/app/start.sh "$rounds")"
    equal mapped 100000 "$(setarch -X python3 -B -c 'import mmap
with open("/scratch/numbers", "r+b") as f:
    print(mmap.mmap(f.fileno(), 0).read().count(b"\n"))')"
    equal library 42 "$(setarch -X python3 -B -c 'import ctypes; print(ctypes.CDLL("/opt/app/bin/libanswer.so").answer())')"
done
