//! What the server keeps, as other releases write it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::attesting::Server;
use crate::node::Node;
use crate::support::until;

/// The only node's file.
fn file(server: &Server) -> PathBuf {
    let files = fs::read_dir(server.at("state/nodes")).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|it| it == "json")).last().unwrap()
}

fn change(server: &Server, f: impl FnOnce(&mut Value)) -> Vec<u8> {
    let file = file(server);
    let mut kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    f(&mut kept);
    let text = serde_json::to_vec(&kept).unwrap();
    fs::write(file, &text).unwrap();
    text
}

#[test]
fn a_verdict_survives_an_upgrade_and_a_rollback() {
    let mut node = Node::new();
    let mut server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    node.measure("/usr/bin/late");
    let whole = fs::read(node.list()).unwrap();
    fs::write(node.list(), &whole[..whole.len() - 5]).unwrap();
    assert_eq!(server.attest(&agent), "untrusted");
    drop(agent);
    let is_untrusted = |server: &Server| {
        let (shown, status) = server.node();
        assert_eq!((shown["state"].as_str(), status), (Some("untrusted"), Some(1)), "{shown}");
        assert_eq!(shown["incident"]["findings"][0]["finding"], "LOG_MALFORMED", "{shown}");
    };

    // A later release added to it, and was rolled back.
    server.policyd.kill();
    change(&server, |kept| {
        kept["later"] = json!({"a": [1]});
        kept["known"]["later"] = json!(true);
        kept["incident"]["later"] = json!(null);
        kept["findings"][0]["later"] = json!("x");
    });
    server.policyd.restart();
    is_untrusted(&server);

    // What 0.1 wrote: no moments, no name of the key itself, and the incident by its flag.
    server.policyd.kill();
    change(&server, |kept| {
        kept["version"] = json!(1);
        kept["keepsIncidents"] = json!(true);
        kept.as_object_mut().unwrap().remove("heard");
        kept["known"].as_object_mut().unwrap().remove("ekKey");
    });
    server.policyd.restart();
    is_untrusted(&server);
    server.policyd.kill();
    change(&server, |kept| {
        kept["tampered"] = json!(true);
        kept["keepsIncidents"] = json!(false);
        kept.as_object_mut().unwrap().remove("incident");
    });
    server.policyd.restart();
    is_untrusted(&server);

    // A later version: nobody starts, nothing is touched, and the release that wrote it goes on.
    server.policyd.kill();
    let newer = change(&server, |kept| kept["version"] = json!(3));
    server.policyd.start_again();
    let log = server.policyd.wait_for("can't be used");
    assert!(log.contains("version 3") && log.contains("a later one"), "{log}");
    assert!(!server.policyd.wait().success());
    assert_eq!(fs::read(file(&server)).unwrap(), newer);
    change(&server, |kept| kept["version"] = json!(1));
    server.policyd.restart();
    is_untrusted(&server);
    fs::write(node.list(), whole).unwrap();
    let agent = node.agent(&server.args(), &[]);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    assert_eq!(server.node().1, Some(1), "somebody must look all the same");
}

#[test]
fn who_enrols_again_is_looked_at() {
    let node = Node::new();
    let mut server = Server::start(&node, "interval: 3600\n", false);
    drop(server.trusted(&node));
    // The agent's state is lost, and with it the attestation key.
    fs::remove_dir_all(node.at("attestd")).unwrap();
    let agent = node.agent(&server.args(), &[]);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    let finding = |server: &Server| {
        let (shown, status) = server.node();
        assert_eq!((shown["state"].as_str(), status), (Some("trusted"), Some(1)), "{shown}");
        shown["incident"]["findings"][0]["finding"].as_str().unwrap().to_owned()
    };
    assert_eq!(finding(&server), "RE_ENROLLED");
    drop(agent);
    assert!(server.lacre(&["acknowledge", "node-1", "--reason", "a new disk"]).status.success());
    assert_eq!(server.node().1, Some(0));

    // What was known of it is damaged.
    server.policyd.kill();
    fs::write(file(&server), "{").unwrap();
    server.policyd.restart();
    let agent = node.agent(&server.args(), &[]);
    until("enrolled", || server.state() == "trusted");
    assert_eq!(finding(&server), "STATE_LOST");
    drop(agent);
}

#[test]
fn where_there_is_an_inventory_a_node_has_its_own_tpm_and_no_other() {
    let (node, tls) = (Node::new(), true);
    let server = Server::start(&node, "interval: 3600\n", tls);
    let agent = server.trusted(&node);
    let ek = server.node().0["endorsementKey"].as_str().unwrap().to_owned();
    let with = |inventory: &str| {
        let waive = crate::attesting::WAIVED;
        let anchors = crate::attesting::ANCHORS;
        server.expects(&format!(
            "interval: 3600\nexpect: {{{anchors}, waive: [{waive}]}}\ninventory: {{{inventory}}}\n"
        ));
    };
    let principal = "tls:spiffe://example.org/node/a";
    // It is another's.
    with(&format!("\"uid:0\": {ek}"));
    until("unenrolled", || {
        let listed = server.lacre(&["list", "--json"]);
        let nodes: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
        nodes.iter().all(|node| node["state"] == "unenrolled") && !nodes.is_empty()
    });
    agent.wait_for("the inventory has another TPM");
    server.policyd.wait_for("the inventory has another TPM");
    with(&format!("\"{principal}\": [{ek}, 000b00]"));
    until("trusted", || server.state() == "trusted");
    assert_eq!(server.node().1, Some(0), "the same key once more is no incident");
}
