//! Orders that would touch many containers: another policy, answers to reports. Over the real
//! server, TLS, and the reporter of the shims.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use lacre_policy::{Policy, Subject};
use lacre_proto::Connector;
use lacre_proto::policy::{Container, RegisterRequest, ReportRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_types::Action;
use support::{Ca, Heard, Policyd, Shims, over, policy_text, record, tls, until, within};

/// A server with a unix socket for who administers, and TLS for nodes.
struct Fleet {
    dir: tempfile::TempDir,
    ca: Ca,
    address: lacre_proto::Address,
    policyd: Policyd,
}

impl Fleet {
    fn start(policy: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        let ca = Ca::new("ca");
        let (address, mut all) = tls(dir.path(), &ca);
        let socket = format!("unix://{}", dir.path().join("policyd.sock").display());
        all.extend(["--listen".to_owned(), socket]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let policyd = Policyd::start(dir.path(), &all);
        Self { dir, ca, address, policyd }
    }

    fn to(&self, node: &str) -> Connector {
        let files = self.ca.node(self.dir.path(), node);
        Connector::new(self.address.clone(), Some(files)).unwrap()
    }

    /// The shims of a node with so many containers, which have their policy.
    fn node(&self, name: &str, containers: usize) -> Shims {
        let shims = Shims::start(self.dir.path(), name, &self.to(name));
        shims.run(0, containers);
        let has = |n| !shims.ears.of(&format!("c{n}")).is_empty();
        until("registered", || (0..containers).all(has));
        shims
    }

    fn policy(&self, text: &str) {
        replace(self.dir.path(), text);
    }

    fn approve(&self, order: &str) {
        let done = self.policyd.lacre(&["approve", order, "--reason", "we want that"]);
        assert!(done.status.success(), "{done:?}");
    }
}

fn replace(dir: &Path, text: &str) {
    std::fs::write(dir.join("fresh"), text).unwrap();
    std::fs::rename(dir.join("fresh"), dir.join("policy.yaml")).unwrap();
}

const fn policy(action: Action) -> Heard {
    Heard::Policy(action)
}

#[test]
fn a_stricter_policy_for_many_nodes_waits_and_a_milder_one_does_not() {
    let fleet = Fleet::start(&policy_text("PAUSE"), &[]);
    let nodes: Vec<Shims> = (0..5).map(|n| fleet.node(&format!("n{n}"), 1)).collect();

    fleet.policy(&policy_text("KILL"));
    let log = fleet.policyd.wait_for("HELD");
    assert!(log.contains("a stricter policy") && log.contains("\"nodes\":5"), "{log}");
    until("told", || nodes.iter().all(|node| node.ears.held(1) == 1));
    assert!(nodes.iter().all(|node| node.ears.count(&policy(Action::Kill)) == 0));
    // What begins to run now begins by the new one.
    nodes[0].run(1, 1);
    nodes[0].ears.wait_for(1, &policy(Action::Kill));
    assert_eq!(nodes[0].ears.of("c1"), [policy(Action::Kill)]);
    // No node is attested here, and it is told all the same.
    let listed = fleet.policyd.lacre(&["list"]);
    assert_eq!(listed.status.code(), Some(1), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stderr).contains("order 1 is HELD"), "{listed:?}");

    fleet.policy(&policy_text("SKIP"));
    let has = |node: &Shims, action| node.ears.of("c0").contains(&policy(action));
    until("the milder one", || nodes.iter().all(|node| has(node, Action::Skip)));
    until("withdrawn", || fleet.policyd.orders().is_empty());

    fleet.policy(&policy_text("STOP"));
    until("held", || nodes.iter().all(|node| node.ears.held(2) >= 1));
    assert!(nodes.iter().all(|node| node.ears.count(&policy(Action::Stop)) == 0));
    fleet.approve("2");
    until("approved", || nodes.iter().all(|node| has(node, Action::Stop)));
    nodes.into_iter().for_each(Shims::stop);
}

#[test]
fn small_changes_are_done_until_they_sum_up_and_later_again() {
    let fleet = Fleet::start(&policy_text("SKIP"), &["--hold-window", "6"]);
    let node = fleet.node("a", 12);
    fleet.policy(&policy_text("PAUSE"));
    node.ears.wait_for(12, &policy(Action::Pause));
    // The same ones once more are no more of them.
    fleet.policy(&policy_text("STOP"));
    node.ears.wait_for(12, &policy(Action::Stop));
    // Of the first one's twelve, ten count among others.
    let other = fleet.node("b", 10);
    fleet.policy(&policy_text("KILL"));
    until("held", || node.ears.held(1) == 12 && other.ears.held(1) == 10);
    assert_eq!(node.ears.count(&policy(Action::Kill)), 0);
    // Once that is long ago, few are few again; what is held stays held.
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert_eq!(fleet.policyd.orders().len(), 1);
    other.stop();
    fleet.policy(&policy_text("DELETE"));
    node.ears.wait_for(12, &policy(Action::Delete));
    assert!(fleet.policyd.orders().is_empty(), "it was about another policy");
    node.stop();
}

#[test]
fn a_policy_that_changed_while_the_server_was_away_is_weighed_whole() {
    let mut fleet = Fleet::start(&policy_text("SKIP"), &["--hold-settle", "10"]);
    let node = fleet.node("a", 20);
    fleet.policyd.kill();
    fleet.policy(&policy_text("KILL"));
    fleet.policyd.restart();
    until("held", || node.ears.held(1) == 20);
    assert_eq!(node.ears.count(&policy(Action::Kill)), 0, "not one of them");
    // And over the next start.
    fleet.policyd.kill();
    fleet.policyd.restart();
    let other = fleet.node("b", 1);
    // It begins by that; a node that has to say again what it runs is told again.
    let heard = other.ears.of("c0");
    assert!(heard.first() == Some(&policy(Action::Kill)), "{heard:?}");
    assert!(heard.iter().all(|heard| *heard == policy(Action::Kill)), "{heard:?}");
    assert_eq!(fleet.policyd.orders()[0]["containers"], 20);
    assert_eq!(node.ears.count(&policy(Action::Kill)), 0);
    fleet.approve("1");
    node.ears.wait_for(20, &policy(Action::Kill));
    // What was approved stays so.
    fleet.policyd.kill();
    fleet.policyd.restart();
    node.run(20, 1);
    node.ears.wait_for(21, &policy(Action::Kill));
    node.stop();
}

#[test]
fn few_get_a_policy_that_changed_while_the_server_was_away() {
    let mut fleet = Fleet::start(&policy_text("SKIP"), &[]);
    let node = fleet.node("a", 3);
    fleet.policyd.kill();
    fleet.policy(&policy_text("KILL"));
    fleet.policyd.restart();
    node.ears.wait_for(3, &policy(Action::Kill));
    assert!(fleet.policyd.orders().is_empty());
    node.stop();
}

/// A server that comes to a fleet that runs without one changes what holds for all of it.
#[test]
fn what_runs_by_the_node_s_own_policy_is_held_where_it_would_be_dealt_with_more_strictly() {
    let fleet = Fleet::start(&policy_text("KILL"), &["--hold-containers", "2"]);
    let own = |text: &str| {
        let (policy, _) = Policy::parse("p", text.as_bytes()).unwrap();
        policy.effective(&Subject::default()).to_json()
    };
    let register = |id: &str, own: Vec<u8>| RegisterRequest {
        container: Some(Container { id: id.to_owned(), ..Container::default() }).into(),
        own,
        ..RegisterRequest::default()
    };
    over(&fleet.to("a"), async |client| {
        let client = PolicyServiceClient::new(client);
        for (id, own, given) in [
            ("mild", own(&policy_text("SKIP")), true),
            ("second", own(&policy_text("SKIP")), false),
            ("strict", own(&policy_text("DELETE")), true),
            ("new", Vec::new(), true),
        ] {
            let answer = client.register(within(), &register(id, own)).await.unwrap();
            assert_eq!(!answer.effective.is_empty(), given, "{id}");
            assert_eq!(answer.held.len(), usize::from(!given), "{id}");
            assert_eq!(answer.version.is_empty(), !given, "{id}: {}", answer.version);
        }
    });
}

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

/// A node's word about its containers is all that there is: what it invents is weighed, and
/// takes the fleet no more than one node may.
#[test]
fn a_node_that_invents_containers_holds_its_own_orders_alone() {
    let fleet = Fleet::start(&policy_text("PAUSE"), &[]);
    let honest = fleet.node("honest", 3);
    let register = |n: usize| RegisterRequest {
        container: Some(Container { id: format!("f{n}"), ..Container::default() }).into(),
        version: "x".to_owned(),
        ..RegisterRequest::default()
    };
    over(&fleet.to("bad"), async |client| {
        let client = PolicyServiceClient::new(client);
        for n in 0..25 {
            let answer = client.register(within(), &register(n)).await.unwrap();
            assert_eq!(answer.held.len(), usize::from(n >= 19), "{n}");
        }
        let [order] = &fleet.policyd.orders()[..] else { panic!("{:?}", fleet.policyd.orders()) };
        assert_eq!(order["nodes"], serde_json::json!(["tls:spiffe://example.org/node/bad"]));
        honest.reporter.report(record("c0", "/x", Action::Skip));
        honest.ears.wait_for(1, &Heard::Overruled(Action::Pause));
        // The same policy for others, and the next one for all: of the one node it waits.
        let other = fleet.to("other");
        over_thread(other, |answer| assert!(!answer.effective.is_empty(), "{answer:?}"));
        fleet.policy(&policy_text("KILL"));
        honest.ears.wait_for(3, &policy(Action::Kill));
        let held = client.register(within(), &register(0)).await.unwrap().held;
        assert_eq!(held.len(), 1, "{held:?}");
    });
    honest.stop();
}

/// What a container that runs by an unknown policy is answered.
fn over_thread(to: Connector, check: fn(lacre_proto::policy::RegisterResponse)) {
    let about = Container { id: "c".to_owned(), ..Container::default() };
    let request = RegisterRequest {
        container: Some(about).into(),
        version: "y".to_owned(),
        ..RegisterRequest::default()
    };
    let asked = std::thread::spawn(move || {
        over(&to, async |client| {
            let client = PolicyServiceClient::new(client);
            check(client.register(within(), &request).await.unwrap());
        });
    });
    asked.join().unwrap();
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

/// Shims of an earlier release say nothing of what they have.
#[test]
fn a_shim_that_does_not_say_what_it_has_is_known_by_its_connection() {
    let fleet = Fleet::start(&policy_text("SKIP"), &["--hold-containers", "1"]);
    let about = || {
        let (id, namespace) = ("c".to_owned(), "test".to_owned());
        Container { id, namespace, ..Container::default() }
    };
    let request = || RegisterRequest { container: Some(about()).into(), ..Default::default() };
    over(&fleet.to("a"), async |client| {
        let client = PolicyServiceClient::new(client);
        let first = client.register(within(), &request()).await.unwrap();
        fleet.policy(&policy_text("KILL"));
        fleet.policyd.wait_for("HELD");
        let second = client.register(within(), &request()).await.unwrap();
        assert_eq!(second.effective, first.effective, "what it has is said again");
        assert_eq!((second.version, second.held.len()), (first.version, 1));
        // Reports are answered by that, too.
        let line = serde_json::to_vec(&record("c", "/x", Action::Skip)).unwrap();
        let report = lacre_proto::policy::Report { record: line, ..Default::default() };
        let report = ReportRequest {
            stream: "0".repeat(32),
            first: 1,
            oldest: 1,
            reports: vec![report],
            ..ReportRequest::default()
        };
        let answered = client.report(within(), &report).await.unwrap().answers;
        assert!(answered.len() == 1 && !answered[0].overrules, "{answered:?}");
        // What an earlier process left behind is of an earlier life, if of any.
        let adopted = ReportRequest { adopted: true, ..report };
        let answered = client.report(within(), &adopted).await.unwrap();
        assert_eq!((answered.acknowledged, answered.answers.len()), (1, 0), "{answered:?}");
    });
}

#[test]
fn what_a_later_release_wrote_is_found_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let later = r#"{"version":2,"verdict":"worse"}"#;
    std::fs::write(state.join("orders.json"), later).unwrap();
    std::fs::write(dir.path().join("policy.yaml"), policy_text("SKIP")).unwrap();
    let socket = format!("unix://{}", dir.path().join("policyd.sock").display());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lacre-policyd"));
    command.arg("--policy").arg(dir.path().join("policy.yaml")).arg("--state").arg(&state);
    let ended = command.args(["--listen", &socket]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("orders.json"), "{ended:?}");
    let there = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(there.collect::<Vec<_>>(), ["orders.json"]);
    assert_eq!(std::fs::read_to_string(state.join("orders.json")).unwrap(), later);
}
