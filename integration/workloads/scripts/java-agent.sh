while more; do
    equal agent "agent answer $rounds" "$(java -javaagent:/opt/app/agent.jar -jar /opt/app/answer.jar "$rounds" | xargs)"
    java -cp /opt/app/answer.jar Sleeper & pid=$!
    until_ready jcmd "$pid" VM.version
    equal attach 1 "$(jcmd "$pid" VM.version | grep -c 'OpenJDK 64-Bit')"
    equal threads 1 "$(jstack "$pid" | grep -c '"main"')"
    equal heap 1 "$(jcmd "$pid" GC.heap_info | grep -c Metaspace)"
    equal 'loaded agent' 1 "$(jcmd "$pid" JVMTI.agent_load /opt/app/agent.jar >/dev/null && echo 1)"
    kill "$pid"; wait "$pid" || true
done
