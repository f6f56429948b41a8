class Answer { static void Main(string[] a) { System.Console.WriteLine("answer " + a[0]); } }
