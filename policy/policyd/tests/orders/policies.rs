//! Policies that are stricter than what containers run by.

use lacre_policy::{Policy, Subject};
use lacre_proto::Connector;
use lacre_proto::policy::{Container, RegisterRequest, ReportRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_types::Action;

use crate::fleet::{Fleet, policy};
use crate::support::{Heard, Shims, over, policy_text, record, until, within};

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
