//! The host's list: one that others export and have the kernel delete, one that the kernel
//! refuses for now, and none at all.

use std::fs;
use std::process::Command;

use lacre_attest::container::Secret;
use lacre_attest::container::shim_list::{About, Kept};
use lacre_types::Digest;

use crate::attesting::{ANCHORS, Server, WAIVED};
use crate::held_list::HeldList;
use crate::node::{Node, program};
use crate::support::until;

/// As a kernel with `CONFIG_IMA_STAGING` (`echo A > binary_runtime_measurements`).
fn stage(node: &Node) {
    fs::copy(node.list(), node.at("ima/binary_runtime_measurements_staged")).unwrap();
    fs::write(node.list(), "").unwrap();
}

/// `echo D > binary_runtime_measurements_staged`.
fn delete(node: &Node) {
    fs::write(node.at("ima/binary_runtime_measurements_staged"), "").unwrap();
}

#[test]
fn a_list_whose_beginning_others_export_is_followed() {
    let mut node = Node::new();
    delete(&node);
    let server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    node.measure("/usr/bin/a");
    stage(&node);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    node.measure("/usr/bin/b");
    delete(&node);
    // Measured again, since the kernel has no line of it any more.
    node.measure("/usr/bin/containerd");
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    assert_eq!(server.node().0["fresh"], 2, "only the new lines are sent");
    // What is expected anew is asked of all lines, deleted ones too.
    let anew = "containers: {none: {optional: true}}";
    server.expects(&format!("expect: {{{ANCHORS}, waive: [{WAIVED}], {anew}}}\ninterval: 3600\n"));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    assert_eq!(server.node().0["fresh"], 4, "all lines");

    // One is gone before anybody here has looked.
    node.measure("/usr/bin/c");
    stage(&node);
    let exported = fs::read(node.at("ima/binary_runtime_measurements_staged")).unwrap();
    delete(&node);
    node.measure("/usr/bin/d");
    assert_eq!(server.attest(&agent), "unproven", "{:?}", server.node());
    assert_eq!(server.findings(), ["LOG_GAP"]);
    assert_eq!(server.node().1, Some(2), "nothing to look at");
    drop(agent);
    // Who exported it tells where it is.
    fs::write(node.at("exported"), exported).unwrap();
    let from = [("LACRE_IMA_EXPORTED", node.at("exported").display().to_string())];
    let agent = node.agent(&server.args(), &from);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
}

#[test]
fn a_list_that_another_program_has_is_waited_for() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let list = HeldList::new(&node.list());
    list.hold();
    let agent = node.agent(&server.args(), &list.environment());
    until("refused", || list.has_refused());
    list.let_go();
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    // But not for ever.
    list.hold();
    assert!(server.lacre(&["attest", "node-1"]).status.success());
    let told = agent.wait_for("LISTS_UNREADABLE");
    assert!(told.contains("another program"), "{told}");
    until("unproven", || server.state() == "unproven");
    assert_eq!(server.findings(), ["LISTS_UNREADABLE"]);
    list.let_go();
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
}

#[test]
fn a_node_without_ima_shows_what_it_has() {
    let node = Node::without_ima();
    let server = Server::start(&node, "interval: 3600\n", false);
    // A real securityfs, in which this kernel has no IMA, for the agent alone.
    let security = node.at("security");
    fs::create_dir(&security).unwrap();
    let mut mounted = Command::new("unshare");
    let mount = "mount -t securityfs none \"$0\" && exec \"$@\"";
    mounted.args(["--mount", "sh", "-c", mount]).arg(&security).arg(program("lacre-attestd"));
    let ima = [("LACRE_IMA", security.join("ima").display().to_string())];
    let agent = node.agent_by(mounted, &server.args(), &ima);
    assert_eq!(agent.state(), "unproven", "{:?}", server.node());
    assert_eq!(server.findings(), ["NO_HOST_LIST"]);
    // Lists of shims are shown all the same.
    let folder = node.at("evidence");
    let about = About { id: "web".to_owned(), image: None, secret: Secret::new([9; 32]) };
    let mut web = Kept::create(&folder, 1, &about).unwrap();
    web.push(&Digest::sha256([3; 32]), b"/bin/a").unwrap();
    until("anchored", || {
        fs::read_to_string(folder.join("aggregate")).is_ok_and(|text| text.lines().count() == 3)
    });
    let reason = "{question: host-list, reason: no IMA in these kernels}";
    server
        .expects(&format!("expect: {{{ANCHORS}, waive: [{WAIVED}, {reason}]}}\ninterval: 3600\n"));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    assert_eq!(server.node().0["lines"], 4, "a line, and three of aggregate");
    drop(agent);
    // Where securityfs is not mounted, nobody can tell.
    let agent = node.agent(&server.args(), &ima);
    agent.wait_for("LISTS_UNREADABLE");
    until("unproven", || server.state() == "unproven");
}
