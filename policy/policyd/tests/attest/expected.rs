//! What is expected of nodes, and that it changes while the server runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use lacre_attest::container::Secret;
use lacre_attest::container::shim_list::{About, Kept};
use lacre_types::{Algorithm, Digest};

use crate::attesting::{ANCHORS, Server};
use crate::node::{Node, program};

const SCRIPT: &[u8] = b"#!/bin/sh\n";

const WAIVED: &str = "boot-aggregate, boot-log, kernel, host-programs";

/// The baseline of an image that has one script, of that name.
fn baseline(server: &Server, script: &str) {
    let _ = fs::remove_dir_all(server.at("image"));
    fs::create_dir_all(server.at("image/bin")).unwrap();
    fs::write(server.at("image/bin").join(script), SCRIPT).unwrap();
    let mut generate = Command::new(program("lacre"));
    generate.args(["baseline", "generate", "--rootfs"]).arg(server.at("image"));
    let made = generate.arg("-o").arg(server.at("image.baseline")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A list as a shim keeps it, of a container whose id nobody knew.
fn run(folder: &Path, seq: u8, image: &str, file: &[u8]) -> Kept {
    let secret = Secret::new([seq; 32]);
    let id = format!("k8s.io--{}", format!("{seq:02x}").repeat(32));
    let about = About { id, image: Some(image.to_owned()), secret };
    let mut list = Kept::create(folder, seq.into(), &about).unwrap();
    ran(&mut list, file);
    list
}

fn ran(list: &mut Kept, file: &[u8]) {
    let digest: Digest = lacre_attest::pcr::hash(Algorithm::Sha256, &[file]);
    list.push(&digest, b"/bin/app.sh").unwrap();
}

#[test]
fn containers_are_judged_by_their_image_as_soon_as_that_is_expected() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    baseline(&server, "app.sh");
    let folder = node.at("evidence");
    let mut web = run(&folder, 1, "docker.io/library/demo:1", SCRIPT);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());

    // Nobody asks: the file changes.
    let expect = |images: &str| {
        let once = "{\"k8s.io--once\": {optional: true, baseline: image.baseline}}";
        format!(
            "interval: 3600\nexpect: {{{ANCHORS}, waive: [{WAIVED}], containers: {once}, {images}}}\n"
        )
    };
    let demo = "images: {\"demo:*\": {baseline: image.baseline}}";
    server.expects(&expect(demo));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());

    let _other = run(&folder, 2, "other:1", SCRIPT);
    assert_eq!(server.attest(&agent), "unproven", "{:?}", server.node());
    let unchecked = server.node().0["unchecked"].to_string();
    assert!(unchecked.contains("nor for its image other:1"), "{unchecked}");
    assert_eq!(server.findings(), Vec::<String>::new());

    // A broken file is told, and changes nothing.
    let both = demo.replace("}}", "}, other: {baseline: other.baseline}}");
    server.expects(&expect(&both));
    server.policyd.wait_for("what it said before stays in force");
    let listed = server.lacre(&["list"]);
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(said.contains("other.baseline") && said.lines().count() == 1, "{said}");
    assert_eq!(server.attest(&agent), "unproven", "{:?}", server.node());
    server.expects(&expect(&demo.replace("}}", "}, \"other:*\": {baseline: image.baseline}}")));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    assert_eq!(server.lacre(&["list"]).stderr, b"");

    // What it ran since.
    ran(&mut web, SCRIPT);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    // Another baseline under its name is another expectation.
    baseline(&server, "other.sh");
    assert_eq!(agent.state(), "untrusted");
    assert_eq!(server.findings(), ["CONTAINER_VIOLATION"; 3]);
}

/// A container that must be there, whose secret only the node knows.
#[test]
fn what_must_be_there_is_missed_and_its_secret_is_the_one_that_the_node_brings() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    baseline(&server, "app.sh");
    let id = format!("k8s.io--{}", "01".repeat(32));
    let expect = |optional: bool| {
        format!(
            "interval: 3600\nexpect: {{{ANCHORS}, waive: [{WAIVED}], containers: \
             {{\"{id}\": {{optional: {optional}, baseline: image.baseline}}}}}}\n"
        )
    };
    server.expects(&expect(true));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    let mut web = run(&node.at("evidence"), 1, "any", SCRIPT);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    server.expects(&expect(false));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    server.expects(&(expect(false) + "reports: refuse\n"));
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    ran(&mut web, b"#!/bin/evil\n");
    assert_eq!(server.attest(&agent), "untrusted");
    assert_eq!(server.findings(), ["CONTAINER_VIOLATION"]);
    server.expects(&expect(false).replace(&id, "k8s.io--gone"));
    assert_eq!(agent.state(), "untrusted", "{:?}", server.node());
    assert!(server.findings().contains(&"LOG_MISSING".to_owned()), "{:?}", server.findings());
}
