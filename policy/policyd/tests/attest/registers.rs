//! The PCR that shims' lists are in: the node's configuration, and the verifier's word.

use std::fs;
use std::process::Command;

use lacre_attest::container::Secret;
use lacre_attest::container::shim_list::{About, Kept};
use lacre_attest::evidence::Evidence;
use lacre_attest::ima::{Form, Stream};
use lacre_attest::pcr;
use lacre_types::{Algorithm, Digest};

use crate::attesting::{Server, WAIVED};
use crate::node::{Agent, Node, program};
use crate::support::until;

fn expects(server: &Server, shim: &str) {
    server.expects(&format!(
        "expect: {{anchors: {{kernel: 12, shim: {shim}}}, waive: [{WAIVED}]}}\ninterval: 3600\n"
    ));
}

fn agent(node: &Node, server: &Server, pcr: u32) -> Agent {
    node.agent(&server.args(), &[("LACRE_SHIM_PCR", pcr.to_string())])
}

fn kept(node: &Node, seq: u64) -> Kept {
    let about = About { id: format!("c{seq}"), image: None, secret: Secret::new([9; 32]) };
    let mut list = Kept::create(&node.at("evidence"), seq, &about).unwrap();
    list.push(&Digest::sha256([3; 32]), b"/bin/a").unwrap();
    list
}

/// Waits until that many events are in the TPM.
fn anchored(node: &Node, events: usize) -> String {
    let text = || fs::read_to_string(node.at("evidence/aggregate")).unwrap_or_default();
    until("anchored", || text().lines().count() == events);
    text()
}

#[test]
fn shims_lists_are_where_the_node_and_its_verifier_say() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    expects(&server, "14");
    let agent = agent(&node, &server, 14);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    let _list = kept(&node, 1);
    assert!(anchored(&node, 3).lines().all(|line| line.starts_with("14 ")));
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    let mut named = Vec::new();
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
    let list = fs::read(node.at("evidence/1.list")).unwrap();
    stream.feed(&list, |_, entry| named.push(entry.pcr)).unwrap();
    assert_eq!(named, [14], "shims are told");
    // Elsewhere than the verifier has it: nothing is believed, and nobody accused.
    expects(&server, "15");
    assert_eq!(agent.state(), "unproven", "{:?}", server.node());
    assert!(server.findings().contains(&"ANCHOR_OTHER".to_owned()), "{:?}", server.node());
    assert_eq!(server.node().1, Some(2), "nothing to look at");
    drop(agent);
    // A quote that nobody asked for is over it, too.
    let mut quote = Command::new(program("lacre-attestd"));
    quote.args(["--shim-pcr", "14", "quote", "--nonce", "07"]).envs(node.environment());
    let quoted = quote.output().unwrap();
    let evidence = Evidence::parse(&quoted.stdout).unwrap();
    let pcrs: Vec<u32> = evidence.pcrs[&Algorithm::Sha256].keys().copied().collect();
    assert_eq!(pcrs, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14]);
    // Another is for the next boot.
    expects(&server, "14");
    let agent = self::agent(&node, &server, 13);
    agent.wait_for("until the next boot");
    // The server may have yet to read what it expects.
    until("trusted", || server.state() == "trusted");
}

#[test]
fn what_else_extends_the_pcr_is_named_and_the_rest_is_shown() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    // By the boot loader, before the first line.
    let event = Digest::sha256([5; 32]);
    node.swtpm.open().extend(14, vec![event]).unwrap();
    let start = pcr::extended(&pcr::initial(Algorithm::Sha256, 14), event.as_bytes());
    expects(&server, &format!("{{pcr: 14, start: \"{start}\"}}"));
    let agent = agent(&node, &server, 14);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    let mut list = kept(&node, 1);
    anchored(&node, 3);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    expects(&server, "14");
    assert_eq!(agent.state(), "unproven", "{:?}", server.node());
    assert_eq!(server.findings(), ["NOT_FROM_ZERO"]);
    expects(&server, &format!("{{pcr: 14, start: \"{start}\"}}"));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    // By another program, later on.
    drop(agent);
    node.swtpm.open().extend(14, vec![event]).unwrap();
    let agent = self::agent(&node, &server, 14);
    assert_eq!(agent.state(), "unproven", "{:?}", server.node());
    assert_eq!(server.findings(), ["AGGREGATE_NOT_REPLAYED"]);
    assert_eq!(server.node().1, Some(2), "nobody is accused");
    // And while a batch was on its way, so that nobody can tell whether it is in the PCR.
    drop(agent);
    let aggregate = fs::read_to_string(node.at("evidence/aggregate")).unwrap();
    let batch = format!("14 2 {} {}\n", "11".repeat(32), "22".repeat(32));
    fs::write(node.at("evidence/intent"), batch).unwrap();
    list.push(&Digest::sha256([3; 32]), b"/bin/b").unwrap();
    let agent = self::agent(&node, &server, 14);
    agent.wait_for("something else extends it");
    assert_eq!(agent.state(), "unproven", "{:?}", server.node());
    assert_eq!(server.findings(), ["AGGREGATE_NOT_REPLAYED"]);
    assert!(server.node().0["lines"].as_u64().unwrap() > 0, "the host's list is verified");
    assert_eq!(fs::read_to_string(node.at("evidence/aggregate")).unwrap(), aggregate);
}

#[test]
fn a_pcr_that_is_another_s_is_refused() {
    for (pcr, says) in [("7", "firmware"), ("10", "IMA"), ("11", "systemd"), ("23", "set back")] {
        let mut command = Command::new(program("lacre-attestd"));
        let refused = command.args(["--shim-pcr", pcr, "keys"]).output().unwrap();
        let error = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(64), "{error}");
        assert!(error.contains(says) && error.contains("12 to 15"), "{error}");
    }
    // Where this kernel has its own.
    let mut node = Node::new();
    node.run("web", "/bin/a");
    fs::write(node.at("ima/containers/status"), "version 1\npcr 12\n").unwrap();
    let mut command = Command::new(program("lacre-attestd"));
    command.args(["--shim-pcr", "12", "serve"]).envs(node.environment());
    let refused = command.output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("ima.container_pcr"), "{error}");
}
