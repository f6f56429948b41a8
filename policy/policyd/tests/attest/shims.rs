//! The lists that shims keep, where the kernel keeps none.

use std::fs;

use lacre_attest::container::Secret;
use lacre_attest::container::kept::{About, Kept};
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
    let mut web = Kept::create(&folder, 1, &about("test/web")).unwrap();
    let mut shop = Kept::create(&folder, 2, &about("test/shop")).unwrap();
    let empty = Kept::create(&folder, 3, &about("test/empty")).unwrap();
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
