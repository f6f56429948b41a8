prime(N) :- M is truncate(sqrt(N)), \+ (between(2, M, D), 0 is N mod D).
:- initialization((aggregate_all(count, (between(2, 9999, N), prime(N)), C), format("primes ~w~n", [C]), halt)).
