const { fork, execFileSync } = require("child_process"); const { Worker } = require("worker_threads");
if (process.argv[2] === "child") { process.on("message", (n) => { process.send(n * 2); process.disconnect(); }); }
else {
  const child = fork(__filename, ["child"]);
  child.on("message", (n) => { new Worker("require('worker_threads').parentPort.postMessage(" + n + " + 1)", { eval: true }).on("message", (m) => console.log("forked", m)); });
  child.send(20);
}
