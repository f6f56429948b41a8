//! The policy on its way to the nodes: at registration, when the file changes, broken
//! files, answers that overrule, and a server that is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use lacre_policy::Effective;
use lacre_proto::Connector;
use lacre_proto::policy::{StatusRequest, StatusResponse};
use lacre_proto::service::PolicyServiceClient;
use lacre_report::{Config, Note, Reporter, StoredPolicy, Told};
use lacre_types::{Action, ViolationKind};
use support::{LONG, Policyd, Said, container, over, policy_text, record, within};

fn reporter(dir: &Path, to: &Connector) -> (Reporter, Receiver<Said>) {
    let mut config = Config::new("node", dir.join("node"));
    config.server = Some(to.clone());
    support::reporter(config)
}

fn next_policy(said: &Receiver<Said>) -> (Action, String) {
    loop {
        if let Said::Policy(policy) = said.recv_timeout(LONG).unwrap() {
            let effective = Effective::from_json(&policy.effective).unwrap();
            return (effective.decide(ViolationKind::EntryNotFound, None).action, policy.version);
        }
    }
}

fn status(to: &Connector) -> StatusResponse {
    over(to, async |client| {
        let client = PolicyServiceClient::new(client);
        client.status(within(), &StatusRequest::default()).await.unwrap()
    })
}

fn replace(dir: &Path, text: &str) {
    std::fs::write(dir.join("fresh"), text).unwrap();
    std::fs::rename(dir.join("fresh"), dir.join("policy.yaml")).unwrap();
}

#[test]
fn a_change_reaches_the_node_and_a_broken_file_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (server, to) = Policyd::unix(dir.path());
    let (reporter, said) = reporter(dir.path(), &to);
    assert!(reporter.register(container()));
    let (action, first) = next_policy(&said);
    assert_eq!(action, Action::Skip);

    replace(dir.path(), &policy_text("KILL"));
    let (action, second) = next_policy(&said);
    assert_eq!(action, Action::Kill);
    assert_ne!(first, second);

    replace(dir.path(), "Actions:\n  ENTRY_NOT_FOUND:\n    Default: \"KIL\"\n");
    let line = server.wait_for("stays in force");
    assert!(line.contains("KIL") && line.contains(&second), "{line}");
    let broken = status(&to);
    assert_eq!(broken.version, second);
    assert!(broken.error.contains("KIL"), "{}", broken.error);

    // Written in place, as an editor may.
    std::fs::write(dir.path().join("policy.yaml"), policy_text("PAUSE")).unwrap();
    assert_eq!(next_policy(&said).0, Action::Pause);
    assert_eq!(status(&to).error, "");

    // Removed: kept. And SIGHUP alone reads it again.
    std::fs::remove_file(dir.path().join("policy.yaml")).unwrap();
    server.wait_for("stays in force");
    std::fs::write(dir.path().join("policy.yaml"), policy_text("STOP")).unwrap();
    server.signal(rustix::process::Signal::HUP);
    assert_eq!(next_policy(&said).0, Action::Stop);

    let nodes = status(&to).nodes;
    assert_eq!((&*nodes[0].principal, &*nodes[0].node, nodes[0].containers), ("uid:0", "node", 1));
    reporter.unregister("test", "c");
    assert!(reporter.flush(LONG));
    assert_eq!(StoredPolicy::load(&dir.path().join("node"), "0a"), None);
    reporter.stop(LONG);
}

#[test]
fn the_swap_of_a_config_map_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let volume = |name: &str, action: &str| {
        let data = dir.path().join(name);
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("policy.yaml"), policy_text(action)).unwrap();
        std::os::unix::fs::symlink(name, dir.path().join("..data_tmp")).unwrap();
        std::fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    volume("..2026_1", "SKIP");
    std::os::unix::fs::symlink("..data/policy.yaml", dir.path().join("policy.yaml")).unwrap();
    let (_server, to) = Policyd::unix(dir.path());
    let (reporter, said) = reporter(dir.path(), &to);
    reporter.register(container());
    assert_eq!(next_policy(&said).0, Action::Skip);
    for (name, action, expected) in
        [("..2026_2", "KILL", Action::Kill), ("..2026_3", "PAUSE", Action::Pause)]
    {
        volume(name, action);
        assert_eq!(next_policy(&said).0, expected);
    }
}

#[test]
fn the_server_overrules_a_node_that_acted_by_an_older_policy() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.yaml"), policy_text("DELETE")).unwrap();
    let (_server, to) = Policyd::unix(dir.path());
    let (reporter, said) = reporter(dir.path(), &to);
    reporter.register(container());
    next_policy(&said);
    let number = |told| match told {
        Told::Anew(number) => number,
        other => panic!("{other:?}"),
    };
    let wrong = number(reporter.report(record("c", "/wrong", Action::Skip)));
    let right = number(reporter.report(record("c", "/right", Action::Delete)));
    reporter.report(record("unknown", "/unanswered", Action::Skip));
    let mut answers = Vec::new();
    while answers.len() < 2 {
        if let Said::Answer { number, action, overrules } = said.recv_timeout(LONG).unwrap() {
            answers.push((number, action, overrules));
        }
    }
    let (wrong, right) = (wrong.get().unwrap(), right.get().unwrap());
    assert_eq!(answers, [(wrong, Action::Delete, true), (right, Action::Delete, false)]);
    reporter.stop(LONG);
    assert!(!said.try_iter().any(|said| matches!(said, Said::Answer { .. })));
}

#[test]
fn while_the_server_is_away_the_last_policy_holds_and_nothing_waits() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.yaml"), policy_text("KILL")).unwrap();
    let (mut server, to) = Policyd::unix(dir.path());
    let (reporter, said) = reporter(dir.path(), &to);
    reporter.register(container());
    let (_, version) = next_policy(&said);
    server.kill();
    loop {
        if let Said::Note(Note::Disconnected(_)) = said.recv_timeout(LONG).unwrap() {
            break;
        }
    }
    assert!(reporter.flush(LONG));
    let stored = StoredPolicy::load(&dir.path().join("node"), "0a").unwrap();
    assert_eq!(stored.version, version);
    let began = std::time::Instant::now();
    for number in 0..2000 {
        reporter.report(record("c", &format!("/{number}"), Action::Kill));
    }
    let each = began.elapsed() / 2000;
    eprintln!("report() with the server away: {each:?}");
    assert!(each < Duration::from_millis(5), "{each:?}");
    std::fs::write(dir.path().join("policy.yaml"), policy_text("PAUSE")).unwrap();
    server.restart();
    assert_eq!(next_policy(&said).0, Action::Pause, "a server that comes back is asked anew");
    reporter.stop(LONG);
    let paths: Vec<_> = server.ledger().into_iter().map(|line| line.path).collect();
    assert_eq!(paths, (0..2000).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[test]
fn sigterm_ends_it_and_takes_the_socket_away() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, to) = Policyd::unix(dir.path());
    let (reporter, said) = reporter(dir.path(), &to);
    reporter.register(container());
    next_policy(&said);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait().success());
    assert!(!dir.path().join("policyd.sock").exists());
    drop(reporter);
}

/// `/run` is empty after a boot, and the server may be the first of lacre to start.
#[test]
fn the_socket_s_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/lacre/policyd.sock");
    let listen = format!("unix://{}", socket.display());
    let _server = Policyd::start(dir.path(), &["--listen".to_owned(), listen]);
    let folder = socket.parent().unwrap().metadata().unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o711, "as the shim makes it");
    assert!(socket.exists());
}
