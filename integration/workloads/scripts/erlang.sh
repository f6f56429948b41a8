export HOME=/tmp
while more; do
    equal JIT jit "$(erl -noshell -eval 'io:format("~s~n", [erlang:system_info(emu_flavor)]), halt().')"
    equal primes 1229 "$(erl -noshell -eval '
P = fun(N) -> lists:all(fun(D) -> N rem D =/= 0 end, lists:seq(2, trunc(math:sqrt(N)))) end,
io:format("~p~n", [length([N || N <- lists:seq(2, 9999), P(N)])]), halt().')"
    equal processes 500 "$(erl -noshell -eval '
S = self(), [spawn(fun() -> S ! N end) || N <- lists:seq(1, 500)],
io:format("~p~n", [length([receive M -> M end || _ <- lists:seq(1, 500)])]), halt().')"
done
