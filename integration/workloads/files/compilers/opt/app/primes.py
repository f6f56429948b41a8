def primes(n):
    return sum(all(i % d for d in range(2, int(i ** 0.5) + 1)) for i in range(2, n))
if __name__ == "__main__":
    import sys
    print("primes", primes(int(sys.argv[1])))
