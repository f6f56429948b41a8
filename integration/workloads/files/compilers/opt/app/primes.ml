fun prime n = let fun go d = d * d > n orelse (n mod d <> 0 andalso go (d + 1)) in go 2 end;
fun count i c = if i >= 10000 then c else count (i + 1) (if prime i then c + 1 else c);
print ("primes " ^ Int.toString (count 2 0) ^ "\n");
