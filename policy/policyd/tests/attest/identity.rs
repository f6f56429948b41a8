//! Who a node is: its principal, and one TPM.

use lacre_proto::attest::{EnrolRequest, ForgetRequest};

use crate::attesting::{Server, asking};
use crate::common::Swtpm;
use crate::node::Node;
use crate::support::{Policyd, within};

#[test]
fn over_tls_a_node_is_its_certificate_and_one_tpm() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", true);
    let agent = server.trusted(&node);
    let (shown, _) = server.node();
    assert_eq!(shown["principal"], "tls:spiffe://example.org/node/a");
    drop(agent);
    // Who asks is none of the nodes by that.
    let listed = server.lacre(&["list", "--json"]);
    let nodes: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((nodes.len(), listed.status.code()), (1, Some(0)), "{nodes:?}");

    // The same name with another TPM, whose maker is not known, and the same TPM with
    // another name: neither.
    let other = Node::of(Swtpm::other());
    let agent = other.agent(&server.args(), &[]);
    agent.wait_for("another TPM");
    server.policyd.wait_for("another TPM");
    drop(agent);
    let agent = node.agent(&server.local(), &[]);
    agent.wait_for("one TPM is one node");
    server.policyd.wait_for("one TPM is one node");
    drop(agent);
    let agent = other.agent(&server.local(), &[]);
    agent.wait_for("not known to be of a real TPM");
    assert_eq!(server.state(), "trusted");
    let listed = server.lacre(&["list"]);
    let table = String::from_utf8(listed.stdout).unwrap();
    assert!(table.contains("uid:0") && table.contains("unenrolled"), "{table}");
    assert_eq!(listed.status.code(), Some(2));

    // Who administers comes by the unix socket.
    let refused = asking(&server.over_tls(), async |client| {
        let node = "node-1".to_owned();
        let request = ForgetRequest { node, ..ForgetRequest::default() };
        client.forget(within(), &request).await.unwrap_err()
    });
    assert!(refused.to_string().contains("unix socket"), "{refused}");
    assert_eq!(server.state(), "trusted");
}

#[test]
fn a_server_that_attests_nobody_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_policyd, connector) = Policyd::unix(dir.path());
    let refused = asking(&connector, async |client| {
        client.enrol(within(), &EnrolRequest::default()).await.unwrap_err()
    });
    assert!(refused.to_string().contains("--attest FILE"), "{refused}");
}
