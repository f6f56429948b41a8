while more; do
    equal primes 'primes 1229' "$(poly -q --error-exit <<<"use \"/opt/app/primes.ml\";" | grep '^primes')"
done
