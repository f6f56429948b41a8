mkdir -p /scratch && cd /scratch
while more; do
    csc -O0 -o primes /opt/app/primes.scm
    equal compiled 'primes 1229' "$(./primes)"
done
