//! The lists that shims keep, where the kernel keeps none.

use std::fs;

use lacre_attest::container::Secret;
use lacre_attest::container::shim_list::{About, Kept};
use lacre_types::Digest;

use crate::attesting::Server;
use crate::node::Node;
use crate::support::until;

#[test]
fn lists_that_shims_keep_are_anchored_and_shown_as_such() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    let folder = node.at("evidence");
    assert!(folder.is_dir(), "the agent tells shims that it is there");
    let (digest, lines) = (Digest::sha256([3; 32]), server.node().0["lines"].as_u64().unwrap());
    let secret = Secret::new([9; 32]);
    let about = |id: &str| {
        let image = Some("demo:1".to_owned());
        About { id: id.to_owned(), image, secret: secret.clone() }
    };
    let mut web = Kept::create(&folder, 1, &about("test--web")).unwrap();
    let mut shop = Kept::create(&folder, 2, &about("test--shop")).unwrap();
    let empty = Kept::create(&folder, 3, &about("test--empty")).unwrap();
    for n in 0..50 {
        web.push(&digest, format!("/bin/{n}").as_bytes()).unwrap();
        shop.push(&digest, format!("/bin/{n}").as_bytes()).unwrap();
    }
    empty.close().unwrap();
    let aggregate = folder.join("aggregate");
    // The start, three creations, a hundred lines and one end.
    until("anchored", || {
        fs::read_to_string(&aggregate).is_ok_and(|text| text.lines().count() == 105)
    });
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    let shown = server.node().0;
    assert_eq!(shown["lines"].as_u64(), Some(lines + 105 + 100), "{shown}");

    // The agent dies, and a shim goes on.
    drop(agent);
    web.push(&digest, b"/bin/later").unwrap();
    let agent = server.trusted(&node);
    assert_eq!(server.node().0["fresh"], 2, "the line and its event");

    // The end of a list is cut off, and what stood there is put elsewhere.
    let list = folder.join("1.list");
    let whole = fs::read(&list).unwrap();
    fs::write(&list, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(server.attest(&agent), "untrusted");
    assert!(!server.findings().is_empty(), "{:?}", server.node());
    assert_eq!(server.attest(&agent), "untrusted");
    assert_eq!(server.findings(), ["LOG_TRUNCATED"]);
}

#[test]
fn a_container_that_comes_back_is_proven_with_what_it_ran_before() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    let folder = node.at("evidence");
    let life = |seq: u64, secret: u8| {
        let secret = Secret::new([secret; 32]);
        let about = About { id: "test--web".to_owned(), image: None, secret };
        let mut list = Kept::create(&folder, seq, &about).unwrap();
        list.push(&Digest::sha256([3; 32]), format!("/bin/{seq}").as_bytes()).unwrap();
        list.close().unwrap();
    };
    life(1, 8);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    life(2, 9);
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    assert_eq!(server.node().0["fresh"], 4, "three events, and a line");
    // A shim that dies leaves a list without an end.
    let about = About { id: "test--shop".to_owned(), image: None, secret: Secret::new([7; 32]) };
    let mut shop = Kept::create(&folder, 3, &about).unwrap();
    shop.push(&Digest::sha256([3; 32]), b"/bin/a").unwrap();
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    drop(shop);
    assert_eq!(server.attest(&agent), "unproven", "{:?}", server.node());
    assert_eq!(server.findings(), ["LOG_UNFINISHED"]);
    // What the first one ran can't be hidden behind the second.
    fs::write(folder.join("1.list"), "").unwrap();
    let evidence = node.quote(&["--nonce", &"07".repeat(32)]);
    let shown = lacre_attest::evidence::Evidence::parse(&evidence).unwrap();
    assert_eq!(shown.anchors[0].containers.len(), 3);
    assert_eq!(server.attest(&agent), "untrusted");
    assert_eq!(server.findings(), ["LOG_TRUNCATED", "LOG_UNFINISHED"]);
}

#[test]
fn whoever_anchors_first_each_line_is_anchored_once() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\n", false);
    let agent = server.trusted(&node);
    let folder = node.at("evidence");
    let secret = Secret::new([9; 32]);
    let about = About { id: "test--web".to_owned(), image: None, secret };
    let mut web = Kept::create(&folder, 1, &about).unwrap();
    let mut ran = |n: u8| web.push(&Digest::sha256([n; 32]), b"/bin/a").unwrap();
    for n in 0..5 {
        // Fresh lines, for the agent's thread, its answer, and a process beside it.
        ran(3 * n);
        node.quote(&["--nonce", &"07".repeat(32)]);
        ran(3 * n + 1);
        assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
        ran(3 * n + 2);
    }
    let tags = || {
        let text = fs::read_to_string(folder.join("aggregate")).unwrap();
        text.lines().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    // The start, the creation, and the lines.
    until("anchored", || tags().len() >= 17);
    let mut tags = tags();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 17);
    let lines = fs::read_to_string(folder.join("aggregate")).unwrap().lines().count();
    assert_eq!(lines, 17, "no line twice");
}
