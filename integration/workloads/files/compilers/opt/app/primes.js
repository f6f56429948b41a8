function primes(n) { let c = 0; for (let i = 2; i < n; i++) { let p = true; for (let d = 2; d * d <= i; d++) if (i % d === 0) { p = false; break; } if (p) c++; } return c; }
for (let r = 0; r < 50; r++) primes(10000);
print("primes " + primes(10000));
