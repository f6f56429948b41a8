public class Sleeper {
    public static void main(String[] arguments) throws Exception {
        Thread.sleep(60000);
    }
}
