public class Agent {
    public static void premain(String arguments, java.lang.instrument.Instrumentation i) {
        System.out.println("agent");
    }
    public static void agentmain(String arguments, java.lang.instrument.Instrumentation i) {
    }
}
