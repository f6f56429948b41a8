mkdir -p /scratch && cd /scratch
while more; do
    echo "public class Answer { public static void main(String[] a) { System.out.println(6 * 7 + $rounds); } }" >Answer.java
    javac Answer.java
    equal class $((42 + rounds)) "$(java -cp /scratch Answer)"
done
