//! When a node is trusted, when it ceases to be, and what becomes of its reports.

use std::fs;

use lacre_report::Note;
use lacre_types::Action;

use crate::attesting::Server;
use crate::node::Node;
use crate::support::{LONG, Said, record, until};

#[test]
fn a_node_is_trusted_until_its_log_is_tampered_with() {
    let mut node = Node::new();
    node.run("web", "/bin/app");
    let mut server = Server::start(&node, "interval: 3600\n", false);
    let (reporter, said) = server.reporter();
    reporter.report(record("c", "/early", Action::Skip));
    until("the early report", || server.trusts().len() == 1);

    let agent = server.trusted(&node);
    let (shown, status) = server.node();
    assert_eq!((shown["state"].as_str(), status), (Some("trusted"), Some(0)), "{shown}");
    assert_eq!(
        (shown["node"].as_str(), shown["principal"].as_str()),
        (Some("node-1"), Some("uid:0"))
    );
    reporter.report(record("c", "/good", Action::Skip));
    until("the good report", || server.trusts().len() == 2);

    // Only what is new is sent the second time, and verified.
    node.measure("/usr/bin/runc");
    node.run("web", "/bin/worker");
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    let (shown, _) = server.node();
    assert_eq!(
        shown["fresh"], 3,
        "a line of the host, of the container, of the aggregate: {shown}"
    );

    // What is known outlives the server.
    server.policyd.kill();
    server.policyd.restart();
    let (again, _) = server.node();
    assert_eq!(again, shown);
    agent.wait_for("\"connected\"");
    node.measure("/usr/bin/ctr");
    assert_eq!(server.attest(&agent), "trusted");
    assert_eq!(server.node().0["fresh"], 1);

    // A line is taken out of the middle of the list, and the boot goes on.
    let whole = fs::read(node.list()).unwrap();
    let text = b"/usr/bin/runc";
    let at = whole.windows(text.len()).position(|window| window == text).unwrap();
    let mut edited = whole.clone();
    edited[at + 9] = b'x';
    fs::write(node.list(), edited).unwrap();
    node.measure("/usr/bin/late");
    // The verifier knows the edited line already, and needs no part of it.
    assert_eq!(server.attest(&agent), "trusted");
    let cut = fs::read(node.list()).unwrap();
    fs::write(node.list(), &cut[..cut.len() - 5]).unwrap();
    assert_eq!(server.attest(&agent), "untrusted");
    let (shown, status) = server.node();
    assert_eq!((shown["state"].as_str(), status), (Some("untrusted"), Some(1)), "{shown}");
    assert!(server.findings().contains(&"LOG_MALFORMED".to_owned()), "{shown}");
    let table = server.lacre(&["list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("UNTRUSTED") && table.contains("LOG_MALFORMED"), "{table}");

    // What the policy says of it is done with the node's containers.
    let mut told = said.iter().skip_while(|said| !matches!(said, Said::Tampered(_)));
    assert!(matches!(told.next(), Some(Said::Tampered(since)) if since > 0));
    let answer = told.next().unwrap();
    let expected = Said::Answer { number: 0, action: Action::Pause, overrules: true };
    assert_eq!(format!("{answer:?}"), format!("{expected:?}"));
    reporter.report(record("c", "/bad", Action::Skip));
    until("the bad report", || server.trusts().len() == 3);
    let trusts = server.trusts().into_iter().map(|(path, trust)| format!("{path} {trust}"));
    assert_eq!(
        trusts.collect::<Vec<_>>(),
        ["/early unenrolled", "/good trusted", "/bad untrusted"]
    );

    // Whole again, all of it is looked at, and an older edit is found then. What it is follows
    // from what it shows last; what somebody must look at stays until somebody has.
    node.swtpm.open();
    fs::write(node.list(), &cut).unwrap();
    assert_eq!(server.attest(&agent), "untrusted");
    assert!(server.findings().contains(&"LOG_EDITED".to_owned()), "{:?}", server.findings());
    let mended = [&whole[..], &cut[whole.len()..]].concat();
    fs::write(node.list(), mended).unwrap();
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    let names = |shown: &serde_json::Value| -> Vec<String> {
        let found = shown["incident"]["findings"].as_array().unwrap().iter();
        found.map(|found| found["finding"].as_str().unwrap().to_owned()).collect()
    };
    let (shown, status) = server.node();
    assert_eq!(names(&shown), ["LOG_MALFORMED", "LOG_EDITED", "LOG_REWRITTEN"], "{shown}");
    assert_eq!((shown["findings"].as_array().map(Vec::len), status), (Some(0), Some(1)));
    let table = String::from_utf8(server.lacre(&["list"]).stdout).unwrap();
    assert!(table.contains("trusted") && table.contains("to look at since"), "{table}");
    // Nor does it go with the server, or with the TPM.
    server.policyd.kill();
    server.policyd.restart();
    assert_eq!(names(&server.node().0), ["LOG_MALFORMED", "LOG_EDITED", "LOG_REWRITTEN"]);
    let refused = server.lacre(&["forget", "uid:0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lacre node acknowledge uid:0"));
    assert!(!server.lacre(&["acknowledge", "uid:0", "--reason", " "]).status.success());
    let reason = ["acknowledge", "uid:0", "--reason", "the backup restored an old file"];
    assert!(server.lacre(&reason).status.success());
    let (shown, status) = server.node();
    assert_eq!((&shown["incident"], status), (&serde_json::Value::Null, Some(0)), "{shown}");
    assert_eq!(shown["acknowledged"]["reason"], "the backup restored an old file");
    assert!(!server.lacre(&reason).status.success(), "there is nothing more to look at");
    reporter.stop(LONG);
}

#[test]
fn who_says_nothing_for_two_intervals_is_stale() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 1\n", false);
    let agent = node.agent(&server.args(), &[]);
    for _ in 0..3 {
        assert_eq!(agent.state(), "trusted", "on the interval: {:?}", server.node());
    }
    drop(agent);
    until("stale", || server.state() == "stale");
    assert_eq!(server.node().1, Some(2));
}

#[test]
fn reports_of_a_node_that_is_not_trusted_wait_where_they_are_refused() {
    let node = Node::new();
    let server = Server::start(&node, "interval: 3600\nreports: refuse\n", false);
    let (reporter, said) = server.reporter();
    reporter.report(record("c", "/waits", Action::Skip));
    server.policyd.wait_for("\"connected\"");
    let _agent = server.trusted(&node);
    until("the report", || server.trusts().len() == 1);
    assert_eq!(server.trusts(), [("/waits".to_owned(), "trusted".to_owned())]);
    reporter.stop(LONG);
    let notes = said.try_iter().filter(|said| matches!(said, Said::Note(_)));
    let notes: Vec<_> = notes.collect();
    let stuck = matches!(
        notes[..],
        [Said::Note(Note::Connected(_)), Said::Note(Note::Stuck(..)), Said::Note(Note::Ended(_)),]
    );
    assert!(stuck, "one connection, told once: {notes:?}");
}
