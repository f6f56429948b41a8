//! Answers to reports that overrule the node, and what people decide about them.

use lacre_types::Action;

use crate::fleet::{Fleet, policy};
use crate::support::{Heard, Shims, policy_text, record, until};

#[test]
fn answers_that_overrule_many_wait_and_come_once_when_they_are_approved() {
    let mut fleet = Fleet::start(&policy_text("STOP"), &["--hold-containers", "3"]);
    let node = fleet.node("a", 4);
    let said = |n: usize| record(&format!("c{n}"), "/x", Action::Skip);
    for n in 0..2 {
        node.reporter.report(said(n));
    }
    node.ears.wait_for(2, &Heard::Overruled(Action::Stop));
    node.reporter.report(said(0));
    for n in 2..4 {
        node.reporter.report(said(n));
    }
    node.ears.wait_for(2, &Heard::Held(1, "STOP".to_owned()));
    assert_eq!(node.ears.count(&Heard::Overruled(Action::Stop)), 2, "the others");
    let order = fleet.policyd.orders().remove(0);
    assert_eq!((&order["kind"], &order["containers"]), (&"answers".into(), &2.into()));
    fleet.policyd.kill();
    fleet.policyd.restart();
    fleet.approve("1");
    node.ears.wait_for(4, &Heard::Overruled(Action::Stop));
    // Whatever else has them register anew.
    fleet.policy(&policy_text("PAUSE"));
    node.ears.wait_for(4, &policy(Action::Pause));
    until("over", || fleet.policyd.orders().is_empty());
    for n in 2..4 {
        let heard = node.ears.of(&format!("c{n}"));
        let times = heard.iter().filter(|heard| **heard == Heard::Overruled(Action::Stop));
        assert_eq!(times.count(), 1, "{heard:?}");
    }
    node.stop();
}

#[test]
fn what_was_dismissed_is_not_done() {
    let fleet = Fleet::start(&policy_text("STOP"), &["--hold-containers", "1"]);
    let node = fleet.node("a", 1);
    node.reporter.report(record("c0", "/x", Action::Skip));
    node.ears.wait_for(1, &Heard::Held(1, "STOP".to_owned()));
    let done = fleet.policyd.lacre(&["dismiss", "1", "--reason", "a test"]);
    assert!(done.status.success(), "{done:?}");
    fleet.policyd.wait_for("an order is dismissed");
    assert!(!fleet.policyd.lacre(&["approve", "1", "--reason", "late"]).status.success());
    // What waits for a container comes with its registration, before the policy does.
    fleet.policy(&policy_text("SKIP"));
    node.ears.wait_for(1, &policy(Action::Skip));
    assert_eq!(node.ears.count(&Heard::Overruled(Action::Stop)), 0);
    node.stop();
}

fn times(node: &Shims, container: &str, heard: &Heard) -> usize {
    node.ears.of(container).iter().filter(|other| *other == heard).count()
}

#[test]
fn what_was_approved_is_for_one_life_of_a_container() {
    let fleet = Fleet::start(&policy_text("STOP"), &["--hold-containers", "1"]);
    let (stop, given) = (policy(Action::Stop), Heard::Overruled(Action::Stop));
    let node = fleet.node("a", 2);
    for n in 0..2 {
        node.reporter.report(record(&format!("c{n}"), "/x", Action::Skip));
    }
    node.ears.wait_for(2, &Heard::Held(1, "STOP".to_owned()));
    fleet.approve("1");
    node.ears.wait_for(2, &given);
    // One is ended by that, and is started again.
    node.reporter.unregister("test", "c0");
    until("forgotten", || fleet.policyd.orders()[0]["containers"] == 1);
    let before = times(&node, "c0", &stop);
    node.begin(0, "another");
    until("the second life", || times(&node, "c0", &stop) > before);
    assert_eq!(times(&node, "c0", &given), 1);
    // The other's shim dies and says nothing, and the next one finds another life.
    node.stop();
    let next = Shims::start(fleet.dir.path(), "next", &fleet.to("a"));
    next.begin(1, "another");
    next.ears.wait_for(1, &stop);
    assert_eq!(times(&next, "c1", &given), 0);
    // Once the first one's connection is gone, nobody is left whom it is for.
    let mut turns = ["SKIP", "STOP"].into_iter().cycle();
    until("over", || {
        let over = fleet.policyd.orders().is_empty();
        if !over {
            fleet.policy(&policy_text(turns.next().unwrap()));
        }
        over
    });
    assert_eq!(times(&next, "c1", &given), 0);
    next.stop();
}

#[test]
fn what_was_approved_can_be_taken_back_until_it_is_given() {
    let mut fleet = Fleet::start(&policy_text("STOP"), &["--hold-containers", "1"]);
    let node = fleet.node("a", 1);
    node.reporter.report(record("c0", "/x", Action::Skip));
    node.ears.wait_for(1, &Heard::Held(1, "STOP".to_owned()));
    node.stop();
    fleet.approve("1");
    fleet.policyd.kill();
    fleet.policyd.restart();
    let done = fleet.policyd.lacre(&["dismiss", "1", "--reason", "it was built so"]);
    assert!(done.status.success(), "{done:?}");
    assert!(fleet.policyd.orders().is_empty());
    let node = fleet.node("a", 1);
    assert_eq!(node.ears.count(&Heard::Overruled(Action::Stop)), 0);
    node.stop();
}

#[test]
fn answers_that_were_gathered_outlast_another_restart_and_the_worst_is_given_once() {
    let text =
        "Actions:\n  ENTRY_NOT_FOUND:\n    ByPath:\n      - /mild: PAUSE\n    Default: KILL\n";
    let mut fleet = Fleet::start(text, &["--hold-settle", "12"]);
    let node = fleet.node("a", 1);
    fleet.policyd.kill();
    fleet.policyd.restart();
    for n in 0..20 {
        node.reporter.report(record("c0", &format!("/other/{n}"), Action::Skip));
    }
    node.reporter.report(record("c0", "/mild", Action::Skip));
    until("acknowledged", || node.reporter.counters().delivered >= 21);
    fleet.policyd.kill();
    fleet.policyd.restart();
    node.ears.wait_for(1, &Heard::Overruled(Action::Kill));
    fleet.policy(&policy_text("SKIP"));
    node.ears.wait_for(1, &policy(Action::Skip));
    until("over", || fleet.policyd.orders().is_empty());
    let heard = node.ears.of("c0");
    let given = heard.iter().filter(|heard| matches!(heard, Heard::Overruled(_)));
    assert_eq!(given.count(), 1, "{heard:?}");
    node.stop();
}
