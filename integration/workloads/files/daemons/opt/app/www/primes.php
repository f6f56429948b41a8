<?php
function primes($n) { $c = 0; for ($i = 2; $i < $n; $i++) { $p = true; for ($d = 2; $d * $d <= $i; $d++) if ($i % $d == 0) { $p = false; break; } if ($p) $c++; } return $c; }
require __DIR__ . '/part.inc';
echo part(primes(10000)), "\n";
