mkdir -p /scratch && cd /scratch
while more; do
    echo "class Answer { static void Main() { System.Console.WriteLine(6 * 7 + $rounds); } }" >answer.cs
    mcs -out:answer.exe answer.cs
    equal assembly $((42 + rounds)) "$(mono answer.exe)"
done
