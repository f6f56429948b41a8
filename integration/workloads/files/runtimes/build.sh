# What the image's author compiled.
cd /opt/app
mkdir classes
javac -d classes Answer.java Primes.java Sleeper.java Agent.java
jar -c -f answer.jar -e Answer -C classes Answer.class -C classes Primes.class -C classes Sleeper.class
printf 'Premain-Class: Agent\nAgent-Class: Agent\n' >manifest
jar -c -f agent.jar -m manifest -C classes Agent.class
mcs -out:answer.exe answer.cs
rm -r classes manifest
