while more; do
    equal jar "answer $rounds" "$(java -jar /opt/app/answer.jar "$rounds")"
    equal JIT 1229 "$(java -XX:+TieredCompilation -XX:Tier3InvocationThreshold=10 -cp /opt/app/answer.jar Primes)"
done
