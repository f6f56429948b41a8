public class Answer {
    public static void main(String[] arguments) {
        System.out.println("answer " + arguments[0]);
    }
}
