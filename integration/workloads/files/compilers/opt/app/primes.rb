def primes(n) = (2...n).count { |i| (2..Integer.sqrt(i)).none? { |d| i % d == 0 } }
20.times { primes(2000) }
puts "primes #{primes(10000)}"
