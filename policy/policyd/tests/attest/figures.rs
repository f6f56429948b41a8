//! What attestation costs.

use serde_json::Value;

use crate::attesting::Server;
use crate::node::Node;

/// How long it takes, for docs/attestation.md: `cargo test --release -p lacre-policyd --test
/// attest -- --ignored --nocapture figures`.
#[test]
#[ignore = "prints figures, and holds to none"]
fn figures() {
    for containers in [1, 100] {
        let mut node = Node::new();
        let ids: Vec<String> = (0..containers).map(|n| format!("c{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let names = |from: usize, count: usize| -> Vec<String> {
            (from..from + count).map(|n| format!("/usr/bin/program-{n}")).collect()
        };
        node.run_all(&ids, &names(0, 20_000 / containers));
        let server = Server::start(&node, "interval: 3600\n", false);
        let agent = node.agent(&server.args(), &[]);
        for what in ["20,000 lines, the first time", "nothing new", "100 new lines"] {
            if what == "nothing new" {
                assert!(server.lacre(&["attest", "node-1"]).status.success());
            } else if what == "100 new lines" {
                node.run_all(&ids, &names(20_000, 100 / containers));
                assert!(server.lacre(&["attest", "node-1"]).status.success());
            }
            let line: Value = serde_json::from_str(&agent.wait_for("\"attested\"")).unwrap();
            assert_eq!(line["state"], "trusted", "{:?}", server.node());
            println!(
                "{containers:>3} containers, {what:<30} gathered {:>7.1} ms, judged {:>7.1} ms, {:>9} bytes",
                line["gathered_ms"].as_f64().unwrap(),
                line["judged_ms"].as_f64().unwrap(),
                line["bytes"]
            );
        }
    }
}
