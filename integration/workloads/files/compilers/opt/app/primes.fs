: prime? ( n -- f ) dup 2 ?do i dup * over > if drop true unloop exit then dup i mod 0= if drop false unloop exit then loop drop true ;
: primes ( n -- c ) 0 swap 2 do i prime? if 1+ then loop ;
10000 primes . cr bye
