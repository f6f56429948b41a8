<?php
function primes(int $below): int
{
    $count = 0;
    for ($n = 2; $n < $below; $n++) {
        $prime = true;
        for ($d = 2; $d * $d <= $n; $d++) {
            if ($n % $d === 0) {
                $prime = false;
                break;
            }
        }
        $count += $prime ? 1 : 0;
    }
    return $count;
}
echo primes(10000), "\n";
