//! TPMs that are slow, gone, or reset.

use std::time::Duration;

use crate::attesting::Server;
use crate::common::Slow;
use crate::node::Node;
use crate::support::until;

#[test]
fn a_tpm_that_is_slow_gone_or_reset_is_told_as_that() {
    let mut node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let slow = Slow::before(&node.swtpm);
    // Slow, but no slower than some are.
    slow.by(Duration::from_millis(200));
    let through = [("LACRE_TCTI", slow.tcti()), ("LACRE_TPM_DEADLINE", "20".to_owned())];
    let agent = node.agent(&server.args(), &through);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    drop(agent);

    slow.by(Duration::from_secs(3600));
    let through = [("LACRE_TCTI", slow.tcti()), ("LACRE_TPM_DEADLINE", "1".to_owned())];
    let agent = node.agent(&server.args(), &through);
    agent.wait_for("TPM_SLOW");
    until("unproven", || server.state() == "unproven");
    assert_eq!(server.findings(), ["TPM_SLOW"]);
    drop(agent);

    node.swtpm.kill();
    let agent = node.agent(&server.args(), &[]);
    agent.wait_for("TPM_GONE");
    until("gone", || server.findings() == ["TPM_GONE"]);
    assert_eq!(server.node().1, Some(2));

    // A TPM that lost its PCRs while the machine went on: its lists are not theirs.
    node.swtpm.restart_at_same_port();
    assert_eq!(server.attest(&agent), "untrusted");
    let findings = server.findings();
    assert!(findings.contains(&"REBOOTED".to_owned()) && findings.len() > 1, "{findings:?}");
    assert!(!server.lacre(&["forget", "node-1"]).status.success(), "nobody has looked");
    let looked = ["acknowledge", "node-1", "--reason", "the TPM was unplugged"];
    assert!(server.lacre(&looked).status.success());
    assert!(server.lacre(&["forget", "node-1"]).status.success());
    drop(agent);

    // One that is reset with its machine is only told of.
    node.boot();
    drop(server.trusted(&node));
    node.swtpm.kill();
    node.swtpm.restart_at_same_port();
    node.boot();
    let _agent = server.trusted(&node);
    assert_eq!(server.findings(), ["REBOOTED"]);
}
