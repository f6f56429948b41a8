export HOME=/tmp
while more; do
    equal primes 'primes 1229' "$(elixir /opt/app/primes.exs)"
    equal module 42 "$(elixir -e 'defmodule M do def f(n), do: n * 6 end; IO.puts(M.f(7))')"
done
