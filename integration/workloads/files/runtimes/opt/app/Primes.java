public class Primes {
    static boolean prime(int n) {
        for (int d = 2; d * d <= n; d++) if (n % d == 0) return false;
        return true;
    }
    public static void main(String[] arguments) {
        int count = 0;
        for (int n = 2; n < 10000; n++) if (prime(n)) count++;
        System.out.println(count);
    }
}
