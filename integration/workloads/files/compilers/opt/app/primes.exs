prime = fn n -> n < 4 or Enum.all?(2..trunc(:math.sqrt(n)), &(rem(n, &1) != 0)) end
IO.puts("primes #{Enum.count(2..9999, prime)}")
