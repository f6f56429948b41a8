while more; do
    equal primes 1229 "$(gforth /opt/app/primes.fs | tr -d ' ' | head -n 1)"
    equal fast 1229 "$(gforth-fast /opt/app/primes.fs | tr -d ' ' | head -n 1)"
done
