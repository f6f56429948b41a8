//! What is held and what is done, counted together and over restarts.

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

/// The same after the server was killed; what it said is on disk.
fn again(gate: Gate, dir: &TempDir) -> Gate {
    gate.save().unwrap();
    drop(gate);
    open(dir)
}

fn reply(node: usize, id: usize, life: &str, action: Action) -> Reply {
    let rule = "a rule".to_owned();
    Reply { target: target(node, id), life: life.to_owned(), action, number: 5, rule }
}

#[test]
fn what_is_small_is_done_until_it_sums_up_and_what_is_held_is_held_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(1), of(1, 0..10), NODES), Leave::Go);
    assert_eq!(gate.may(&tampered(2), of(2, 0..9), NODES), Leave::Go);
    assert_eq!(gate.may(&tampered(1), of(1, 0..10), NODES), Leave::Go, "done already");
    assert_eq!(gate.may(&tampered(3), of(3, 0..1), NODES), Leave::Held(1));
    let gate = again(gate, &dir);
    assert_eq!(gate.may(&tampered(3), of(3, 0..1), NODES), Leave::Held(1));
    assert_eq!(gate.may(&tampered(4), of(4, 0..1), NODES), Leave::Held(2), "the window, too");
    assert_eq!(gate.mark("tls:3"), "+held@1");
    assert_eq!(gate.held(&target(3, 0)).len(), 1);
    assert_eq!(gate.held(&target(3, 1)), []);

    let decide = |id, approve, why| gate.decide(id, approve, why, "uid:0").unwrap_err();
    assert!(matches!(decide(1, true, " "), DecideError::NoReason));
    assert!(matches!(decide(9, true, "x"), DecideError::Unknown(9)));
    assert!(matches!(decide(1, false, "x"), DecideError::HasCause(1)));
    gate.decide(1, true, "we looked", "uid:0").unwrap();
    assert!(matches!(decide(1, true, "x"), DecideError::Unknown(1)), "only once");
    let gate = again(gate, &dir);
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
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(1), of(1, 0..10), NODES), Leave::Go);
    assert_eq!(gate.may(&tampered(4), of(4, 0..9), NODES), Leave::Go);
    drop(again(gate, &dir));
    let file = dir.path().join("orders.json");
    let boot = Moment::now().boot;
    let text = std::fs::read_to_string(&file).unwrap().replace(&boot, "another");
    std::fs::write(&file, text).unwrap();
    assert_eq!(open(&dir).may(&tampered(2), of(2, 0..1), NODES), Leave::Held(1));
    std::fs::write(&file, "{").unwrap();
    assert_eq!(open(&dir).may(&tampered(2), of(2, 0..1), NODES), Leave::Held(1));
    assert!(dir.path().join("orders.damaged").exists());
    // Nor does the next start end that.
    assert_eq!(open(&dir).may(&tampered(2), of(2, 0..1), NODES), Leave::Held(1));
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
    let policy = What::policy("sha256:2".to_owned());
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
    // That one node alone has too many is its own affair.
    assert_eq!(gate.may(&policy, of(3, 0..10), NODES), Leave::Go);
    assert_eq!(gate.mark("tls:2"), "+settled", "so that it asks again");
    assert_eq!(gate.mark("tls:1"), "+held@1");
    // With the others' it is one of all, which it is a part of.
    assert_eq!(gate.may(&policy, of(4, 0..10), NODES), Leave::Held(2));
    assert_eq!(gate.may(&policy, of(1, 0..1), NODES), Leave::Held(2));
    let shown = gate.list();
    assert_eq!((shown.len(), shown[0].containers, shown[0].node_count), (1, 40, 2));
    gate.withdraw("sha256:3", |_| None);
    assert_eq!(gate.list(), []);
}

#[test]
fn an_approved_answer_is_given_once_and_what_came_after_it_waits() {
    let dir = tempfile::tempdir().unwrap();
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(9), of(9, 0..10), NODES), Leave::Go);
    assert_eq!(gate.may(&tampered(8), of(8, 0..9), NODES), Leave::Go);
    let reply = |action| reply(1, 1, "a", action);
    assert_eq!(gate.may_reply(reply(Action::Pause), NODES), Leave::Held(1));
    assert_eq!(gate.may_reply(reply(Action::Delete), NODES), Leave::Held(1));
    assert_eq!(gate.may_reply(reply(Action::Stop), NODES), Leave::Held(1));
    assert!(!gate.is_saved());
    let gate = again(gate, &dir);
    assert!(gate.is_saved());
    let given = |gate: &Gate, life, version: &str| gate.reply(&target(1, 1), life, version);
    assert_eq!(given(&gate, "a", "v"), None);
    gate.decide(1, true, "a leak", "uid:0").unwrap();
    assert_eq!(gate.may_reply(reply(Action::Kill), NODES), Leave::Held(2));
    let gate = again(gate, &dir);
    let once = Some((1, reply(Action::Delete)));
    assert_eq!(given(&gate, "a", "v"), once, "the worst of them");
    assert_eq!(given(&gate, "b", "v"), None, "another life of it");
    assert_eq!(given(&gate, "a", "v"), once, "until it is known to have come");
    assert_eq!(given(&gate, "a", &format!("v{}", answered_mark(1))), None);
    assert_eq!(gate.list().len(), 1, "it is over");
    let gate = again(gate, &dir);
    assert_eq!(given(&gate, "a", "v"), None, "over the next start, too");
    gate.decide(2, false, "no", "uid:0").unwrap();
    assert_eq!(gate.list(), []);
}

#[test]
fn what_one_of_several_was_given_is_not_given_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(1), of(1, 0..19), NODES), Leave::Go);
    for id in 20..23 {
        assert_eq!(gate.may_reply(reply(1, id, "a", Action::Stop), NODES), Leave::Held(1));
    }
    gate.ended(&target(1, 22), "b");
    assert_eq!(gate.list()[0].containers, 3, "that life has nothing here");
    gate.ended(&target(1, 22), "a");
    assert_eq!(gate.list()[0].containers, 2);
    gate.decide(1, true, "x", "uid:0").unwrap();
    assert_eq!(gate.reply(&target(1, 20), "a", &answered_mark(1)), None);
    let gate = again(gate, &dir);
    assert_eq!(gate.reply(&target(1, 20), "a", "v"), None);
    assert!(gate.reply(&target(1, 21), "a", "v").is_some());
    assert_eq!(gate.lives(&target(1, 21)), ["a"]);
    // Nobody is left: it is over. So is one that still waits.
    gate.ended(&target(1, 21), "a");
    assert_eq!(gate.list(), []);
    assert_eq!(gate.may_reply(reply(1, 30, "a", Action::Stop), NODES), Leave::Held(2));
    gate.ended(&target(1, 30), "a");
    assert_eq!(again(gate, &dir).list(), []);
}

#[test]
fn an_approved_answer_that_was_not_given_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let gate = open(&dir);
    assert_eq!(gate.may(&tampered(1), of(1, 0..19), NODES), Leave::Go);
    assert_eq!(gate.may_reply(reply(1, 20, "a", Action::Stop), NODES), Leave::Held(1));
    gate.decide(1, true, "x", "uid:0").unwrap();
    gate.decide(1, false, "it was built so", "uid:0").unwrap();
    assert_eq!(again(gate, &dir).reply(&target(1, 20), "a", "v"), None);
}

#[test]
fn what_is_gathered_is_bounded_and_outlasts_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let gate = open_with(&dir, Duration::from_secs(600));
    for id in 0..300 {
        let action = if id == 7 { Action::Kill } else { Action::Pause };
        assert_eq!(gate.may_reply(reply(1, 1, "a", action), NODES), Leave::Wait);
    }
    for id in 0..5000 {
        assert_eq!(gate.may_reply(reply(2, id, "a", Action::Stop), NODES), Leave::Wait);
    }
    assert_eq!(gate.may(&What::policy("v".to_owned()), of(3, 0..5000), NODES), Leave::Wait);
    let gate = again(gate, &dir);
    let waits = gate.list();
    assert_eq!(waits.iter().map(|order| order.containers).collect::<Vec<_>>(), [1, 1024, 1024]);
    let few = |at: usize| !waits[at].approved.is_empty();
    assert!(few(0) && !few(1) && !few(2), "who has more than is remembered has too many");

    drop(gate);
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let gate = open_with(&dir, Duration::from_secs(600));
    for action in [Action::Pause, Action::Kill, Action::Pause] {
        assert_eq!(gate.may_reply(reply(1, 1, "a", action), NODES), Leave::Wait);
    }
    let gate = again(gate, &dir);
    let once = Some((1, reply(1, 1, "a", Action::Kill)));
    assert_eq!(gate.reply(&target(1, 1), "a", "v"), once, "the worst, and no other");
    assert_eq!(gate.reply(&target(1, 1), "a", &format!("v{}", answered_mark(1))), None);
}
