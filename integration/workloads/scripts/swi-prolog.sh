export HOME=/tmp
while more; do
    equal primes 'primes 1229' "$(swipl /opt/app/primes.pl)"
    equal goal 42 "$(swipl -g 'X is 6*7, print(X), nl' -t halt)"
done
