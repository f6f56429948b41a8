while more; do
    for gc in -XX:+UseZGC -XX:+UseShenandoahGC -XX:+UseG1GC; do
        equal "$gc" 1229 "$(java "$gc" -Xmx256m -cp /opt/app/answer.jar Primes 2>/dev/null)"
    done
done
