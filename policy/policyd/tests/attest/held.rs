//! What a node's evidence has done to its containers, where they are many.

use std::fs;

use lacre_proto::policy::{DecideRequest, OrdersRequest};
use lacre_proto::service::PolicyServiceClient;

use crate::attesting::Server;
use crate::node::Node;
use crate::support::{Heard, Shims, over, until, within};

/// Cuts the host's list in the middle of its last line.
fn cut(node: &mut Node) -> Vec<u8> {
    node.measure("/usr/bin/late");
    let whole = fs::read(node.list()).unwrap();
    fs::write(node.list(), &whole[..whole.len() - 5]).unwrap();
    whole
}

/// The shims of a node with so many containers, which have their policy.
fn twenty(server: &Server) -> Shims {
    let shims = Shims::start(&server.at("."), "node-1", &server.over_tls());
    shims.run(0, 20);
    until("registered", || (0..20).all(|n| !shims.ears.of(&format!("c{n}")).is_empty()));
    shims
}

#[test]
fn altered_logs_of_a_node_with_many_containers_wait_for_an_operator() {
    let mut node = Node::new();
    let mut server = Server::start(&node, "interval: 3600\n", true);
    let agent = server.trusted(&node);
    let shims = twenty(&server);

    let whole = cut(&mut node);
    assert_eq!(server.attest(&agent), "untrusted");
    let log = server.policyd.wait_for("HELD");
    assert!(
        log.contains("LOG_TAMPERED") && log.contains("approve 1") && log.contains("20"),
        "{log}"
    );
    // Each shim hears of it, for containerd's events, and nobody of what is to be done.
    let held = Heard::Held(1, "PAUSE".to_owned());
    shims.ears.wait_for(20, &held);
    assert_eq!(shims.ears.count(&Heard::Tampered), 0);
    let (shown, status) = server.node();
    assert_eq!((&shown["held"], status), (&serde_json::json!([1]), Some(1)), "{shown}");
    let listed = server.lacre(&["list"]);
    let (table, says) =
        (String::from_utf8(listed.stdout).unwrap(), String::from_utf8(listed.stderr).unwrap());
    assert!(table.contains("order 1 is HELD"), "{table}");
    assert!(says.contains("20 containers of 1 nodes") && says.contains("approve 1"), "{says}");

    // Over a restart too, for those that come later too.
    server.policyd.kill();
    server.policyd.restart();
    agent.wait_for("\"connected\"");
    shims.run(20, 1);
    shims.ears.wait_for(21, &held);
    assert_eq!(shims.ears.count(&Heard::Tampered), 0);
    let orders = server.policyd.orders();
    assert_eq!((orders.len(), &orders[0]["containers"]), (1, &21.into()), "{orders:?}");

    // A node can't approve, and nobody can without a reason.
    let refused = over(&server.over_tls(), async |client| {
        let client = PolicyServiceClient::new(client);
        let listed = client.orders(within(), &OrdersRequest::default()).await.unwrap_err();
        let (order, approve, reason) = (1, true, "x".to_owned());
        let request = DecideRequest { order, approve, reason, ..DecideRequest::default() };
        (listed, client.decide(within(), &request).await.unwrap_err())
    });
    assert!(refused.0.to_string().contains("unix socket"), "{refused:?}");
    assert!(refused.1.to_string().contains("unix socket"), "{refused:?}");
    assert!(!server.lacre(&["approve", "1", "--reason", " "]).status.success());
    assert!(!server.lacre(&["dismiss", "1", "--reason", "x"]).status.success());
    assert_eq!(shims.ears.count(&Heard::Tampered), 0);
    let approved = server.lacre(&["approve", "1", "--reason", "the disk was stolen"]);
    assert!(approved.status.success(), "{approved:?}");
    let log = server.policyd.wait_for("an order is approved");
    assert!(log.contains("the disk was stolen") && log.contains("uid:0"), "{log}");
    shims.ears.wait_for(21, &Heard::Tampered);
    let orders = server.policyd.orders();
    assert_eq!(orders[0]["approved"]["reason"], "the disk was stolen");
    // What was looked at has no order any more.
    fs::write(node.list(), whole).unwrap();
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    assert!(server.lacre(&["acknowledge", "node-1", "--reason", "x"]).status.success());
    assert!(server.policyd.orders().is_empty());
    shims.stop();
}

#[test]
fn what_is_held_ends_with_what_it_came_from() {
    let mut node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", true);
    let agent = server.trusted(&node);
    let shims = twenty(&server);
    let whole = cut(&mut node);
    assert_eq!(server.attest(&agent), "untrusted");
    until("held", || shims.ears.held(1) == 20);
    fs::write(node.list(), whole).unwrap();
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    assert_eq!(server.node().1, Some(1), "somebody must look all the same");
    assert!(server.lacre(&["acknowledge", "node-1", "--reason", "a copy"]).status.success());
    server.policyd.wait_for("an order is withdrawn");
    assert_eq!((server.policyd.orders().len(), server.node().1), (0, Some(0)));
    assert_eq!(shims.ears.count(&Heard::Tampered), 0);
    shims.stop();
}

/// What nothing is done about touches nobody.
#[test]
fn altered_logs_are_told_at_once_where_the_policy_lets_them_be() {
    let mut node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", true);
    let skips = "Actions:\n  LOG_TAMPERED:\n    Default: \"SKIP\"\n";
    fs::write(server.at("policy.yaml"), skips).unwrap();
    server.policyd.wait_for("the policy changed");
    let agent = server.trusted(&node);
    let shims = twenty(&server);
    cut(&mut node);
    assert_eq!(server.attest(&agent), "untrusted");
    shims.ears.wait_for(20, &Heard::Tampered);
    assert!(server.policyd.orders().is_empty());
    shims.stop();
}
