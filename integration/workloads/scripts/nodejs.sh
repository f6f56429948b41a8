mkdir -p /scratch && cd /scratch
while more; do
    equal JIT 1229 "$(node /opt/app/primes.js)"
    equal WebAssembly 42 "$(node -e '
const b = Buffer.from("0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b", "hex");
WebAssembly.instantiate(b).then(({instance}) => console.log(instance.exports.add(40, 2)))')"
    equal workers 3 "$(node -e '
const {Worker} = require("worker_threads"); let n = 0;
for (let i = 0; i < 3; i++) new Worker("require(\"worker_threads\").parentPort.postMessage(1)", {eval: true}).on("message", m => { n += m; if (n === 3) console.log(n) })')"
    equal server "hello $rounds" "$(node -e '
const http = require("http"); const s = http.createServer((q, r) => r.end("hello " + q.url.slice(1)));
s.listen(0, "127.0.0.1", () => http.get({host: "127.0.0.1", port: s.address().port, path: "/'"$rounds"'"}, r => r.on("data", d => { console.log(String(d)); s.close() })))')"
done
