use std::collections::BTreeSet;
use std::time::Duration;

use lacre_types::Action;
use slog::{Discard, Logger, o};
use tempfile::TempDir;

use super::*;
use crate::clock::Moment;
use crate::state_file::OpenError;

const NODES: usize = 5;

fn target(node: usize, id: usize) -> Target {
    let (principal, id) = (format!("tls:{node}"), id.to_string());
    Target { principal, namespace: "n".to_owned(), id }
}

fn of(node: usize, ids: std::ops::Range<usize>) -> BTreeSet<Target> {
    ids.map(|id| target(node, id)).collect()
}

fn tampered(node: usize) -> What {
    What::Tampered { principal: format!("tls:{node}"), since: 7 }
}

fn open_with(dir: &TempDir, settle: Duration) -> Gate {
    let limits = Limits { settle, ..Limits::default() };
    Gate::open(dir.path(), limits, Logger::root(Discard, o!())).unwrap()
}

/// As a server that was started anew, and that everybody has come back to.
fn open(dir: &TempDir) -> Gate {
    let gate = open_with(dir, Duration::ZERO);
    gate.settle(|| NODES);
    gate
}

#[test]
fn what_is_small_is_done_until_it_sums_up_and_what_is_held_is_held_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(1), of(1, 0..10), NODES), Leave::Go);
    assert_eq!(gate.may(&tampered(2), of(2, 0..9), NODES), Leave::Go);
    assert_eq!(gate.may(&tampered(1), of(1, 0..10), NODES), Leave::Go, "done already");
    assert_eq!(gate.may(&tampered(3), of(3, 0..1), NODES), Leave::Held(1));
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(3), of(3, 0..1), NODES), Leave::Held(1));
    assert_eq!(gate.may(&tampered(4), of(4, 0..1), NODES), Leave::Held(2), "the window, too");
    assert_eq!(gate.mark("tls:3"), "+held@1");
    assert_eq!(gate.held(&target(3, 0)).len(), 1);
    assert_eq!(gate.held(&target(3, 1)), []);

    assert_eq!(gate.decide(1, true, " ", "uid:0"), Err(DecideError::NoReason));
    assert_eq!(gate.decide(9, true, "x", "uid:0"), Err(DecideError::Unknown(9)));
    assert_eq!(gate.decide(1, false, "x", "uid:0"), Err(DecideError::HasCause(1)));
    gate.decide(1, true, "we looked", "uid:0").unwrap();
    assert_eq!(gate.decide(1, true, "x", "uid:0"), Err(DecideError::Unknown(1)), "only once");
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(3), of(3, 0..90), NODES), Leave::Go, "it was approved");
    assert_eq!(gate.may(&tampered(4), of(4, 0..1), NODES), Leave::Held(2), "not that one");
    let shown = gate.list();
    assert_eq!((shown[0].by.as_str(), shown[0].reason.as_str()), ("uid:0", "we looked"));
    gate.withdraw("", |node| (node == "tls:4").then_some(7));
    assert_eq!(gate.list().len(), 1, "what tls:3 showed was acknowledged");
}

#[test]
fn a_start_of_the_machine_or_a_damaged_file_opens_no_window() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(&dir).may(&tampered(1), of(1, 0..19), NODES), Leave::Go);
    let file = dir.path().join("orders.json");
    let boot = Moment::now().boot;
    let text = std::fs::read_to_string(&file).unwrap().replace(&boot, "another");
    std::fs::write(&file, text).unwrap();
    assert_eq!(open(&dir).may(&tampered(2), of(2, 0..1), NODES), Leave::Held(1));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(open(&dir).may(&tampered(2), of(2, 0..1), NODES), Leave::Held(1));
    assert!(dir.path().join("orders.damaged").exists());
    let newer = r#"{"version":2,"last":3,"orders":[]}"#;
    std::fs::write(&file, newer).unwrap();
    let log = Logger::root(Discard, o!());
    let refused = Gate::open(dir.path(), Limits::default(), log).unwrap_err();
    assert!(matches!(refused, OpenError::Newer(..)), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), newer, "it is whole");
    let more = r#"{"version":1,"last":3,"orders":[],"later":{"a":1}}"#;
    std::fs::write(&file, more).unwrap();
    assert_eq!(open(&dir).may(&tampered(2), of(2, 0..20), NODES), Leave::Held(4));
}

#[test]
fn a_server_that_starts_again_weighs_an_order_whole() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let policy = What::Policy { version: "sha256:2".to_owned() };
    let gate = open_with(&dir, Duration::ZERO);
    for id in 0..20 {
        assert_eq!(gate.may(&policy, of(1, id..id + 1), NODES), Leave::Wait);
    }
    assert_eq!(gate.may(&tampered(2), of(2, 0..2), NODES), Leave::Wait);
    gate.settle(|| NODES);
    for id in 0..30 {
        assert_eq!(gate.may(&policy, of(1, id..id + 1), NODES), Leave::Held(1));
    }
    assert_eq!(gate.may(&tampered(2), of(2, 0..2), NODES), Leave::Go);
    assert_eq!(gate.mark("tls:2"), "+held@1+settled", "so that it asks again");
    gate.withdraw("sha256:3", |_| None);
    assert_eq!(gate.list(), []);
}

#[test]
fn an_approved_answer_is_given_once_and_what_came_after_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(9), of(9, 0..19), NODES), Leave::Go);
    let reply =
        |action| Reply { target: target(1, 1), action, number: 5, rule: "a rule".to_owned() };
    assert_eq!(gate.may_reply(reply(Action::Pause), NODES), Leave::Held(1));
    assert_eq!(gate.may_reply(reply(Action::Delete), NODES), Leave::Held(1));
    assert_eq!(gate.may_reply(reply(Action::Stop), NODES), Leave::Held(1));
    assert_eq!(gate.reply(&target(1, 1), "v"), None);
    gate.decide(1, true, "a leak", "uid:0").unwrap();
    assert_eq!(gate.may_reply(reply(Action::Kill), NODES), Leave::Held(2));
    let gate = open(&dir);
    let given = gate.reply(&target(1, 1), "v");
    assert_eq!(given, Some((1, reply(Action::Delete))), "the worst of them");
    assert_eq!(gate.reply(&target(1, 1), "v"), given, "until it is known to have come");
    assert_eq!(gate.reply(&target(1, 1), &format!("v{}", answered_mark(1))), None);
    assert_eq!(gate.list().len(), 1, "it is over");
    gate.decide(2, false, "no", "uid:0").unwrap();
    assert_eq!(gate.list(), []);
}
