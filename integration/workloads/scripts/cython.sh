mkdir -p /scratch && cd /scratch && export PYTHONDONTWRITEBYTECODE=1
while more; do
    echo "def answer(int n): return n + $rounds" >fast.pyx
    cython3 -3 fast.pyx 2>/dev/null
    gcc -O0 -shared -fPIC $(python3-config --includes) -o fast.so fast.c
    equal loaded $((rounds + 1)) "$(PYTHONPATH=/scratch python3 -c 'import fast; print(fast.answer(1))')"
done
