while more; do
    equal interpreted 'primes 1229' "$(csi -s /opt/app/primes.scm)"
done
