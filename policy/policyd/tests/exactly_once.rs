//! 1,000 reports, with the server and the client killed in the middle: each arrives once,
//! in order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use lacre_proto::{Connector, TlsFiles};
use lacre_report::{Config, Reporter, deliver_orphans};
use lacre_types::Action;
use support::{Ca, LONG, Policyd, Quiet, record, until};

/// Not a test: what a client process runs. It reports `/NAME/FROM` to `/NAME/TO`, a
/// millisecond apart, and prints the number of each when it is on disk.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn client_process() {
    let var = |name: &str| std::env::var(name).unwrap();
    let tls = std::env::var("TLS").ok().map(|base| TlsFiles {
        cert: format!("{base}.pem").into(),
        key: format!("{base}.key").into(),
        ca: format!("{base}.ca").into(),
    });
    let mut config = Config::new("node", var("STATE"));
    config.server = Some(Connector::new(var("SERVER").parse().unwrap(), tls).unwrap());
    config.records = Some(Path::new(&var("STATE")).join(format!("{}.jsonl", var("NAME"))));
    let reporter = Reporter::start(config, Arc::new(Quiet)).unwrap();
    let (from, to): (u64, u64) = (var("FROM").parse().unwrap(), var("TO").parse().unwrap());
    let mut out = std::io::stdout();
    for number in from..=to {
        let path = format!("/{}/{number}", var("NAME"));
        reporter.report(record("c", &path, Action::Skip));
        assert!(reporter.flush(LONG));
        writeln!(out, "reported {number}").unwrap();
        out.flush().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    reporter.stop(LONG);
}

fn client(
    dir: &Path,
    to: &Connector,
    tls: Option<&str>,
    name: &str,
    from: u64,
) -> (Child, Receiver<u64>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["client_process", "--exact", "--ignored", "--nocapture"])
        .env("STATE", dir.join("node"))
        .env("SERVER", to.address().to_string())
        .env("NAME", name)
        .env("FROM", from.to_string())
        .env("TO", "1000");
    if let Some(tls) = tls {
        command.env("TLS", dir.join(tls));
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let (sender, numbers) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("reported ") {
                let _ = sender.send(number.parse().unwrap());
            }
        }
    });
    (child, numbers)
}

fn of<'a>(paths: &'a [String], name: &str) -> Vec<&'a String> {
    let prefix = format!("/{name}/");
    paths.iter().filter(|path| path.starts_with(&prefix)).collect()
}

fn expected(name: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| format!("/{name}/{number}")).collect()
}

fn kill_both_in_the_middle(dir: &Path, mut server: Policyd, to: &Connector, tls: Option<&str>) {
    let (mut a, numbers) = client(dir, to, tls, "a", 1);
    until("200 have arrived", || server.ledger().len() >= 200);
    server.kill();
    let mut printed = 0;
    while printed < 450 {
        printed = numbers.recv_timeout(LONG).unwrap();
    }
    server.restart();
    until("some more have arrived", || server.ledger().len() >= 460);
    a.kill().unwrap();
    a.wait().unwrap();
    printed = numbers.iter().last().unwrap_or(printed);
    server.kill();
    let (mut b, _numbers) = client(dir, to, tls, "b", printed + 1);
    server.restart();
    until("b is being delivered", || {
        server.ledger().iter().filter(|line| line.path.starts_with("/b/")).count() > 20
    });
    server.kill();
    server.restart();
    assert!(b.wait().unwrap().success());

    let lines = server.ledger();
    let paths: Vec<_> = lines.iter().map(|line| line.path.clone()).collect();
    // The call of one more may have begun, and done its work, when the client was killed.
    let of_a = of(&paths, "a");
    let whole = expected("a", 1..=of_a.len() as u64);
    assert!(of_a.iter().eq(&whole.iter().collect::<Vec<_>>()), "in order, none lost, none twice");
    let count = of_a.len() as u64;
    assert!(count == printed || count == printed + 1, "{count} arrived, {printed} were reported");
    assert_eq!(of(&paths, "b"), expected("b", printed + 1..=1000).iter().collect::<Vec<_>>());
    let streams = std::fs::read_dir(dir.join("node/spool")).unwrap().count();
    assert_eq!(streams, 0, "what is delivered is gone from the node");
    let own = std::fs::read_to_string(dir.join("node/b.jsonl")).unwrap();
    assert_eq!(own.lines().count() as u64, 1000 - printed);
    // A line of the node's file is in the ledger byte for byte.
    let ledger = std::fs::read_to_string(dir.join("state/reports-000001.jsonl")).unwrap();
    assert!(own.lines().all(|line| ledger.contains(line)));
}

#[test]
fn over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let (server, to) = Policyd::unix(dir.path());
    kill_both_in_the_middle(dir.path(), server, &to, None);
}

#[test]
fn over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("lacre test");
    let node = ca.node(dir.path(), "node-a");
    let (server, to) = Policyd::tls(dir.path(), &ca, &node);
    kill_both_in_the_middle(dir.path(), server, &to, Some("node-a"));
}

#[test]
fn a_delete_delivers_what_a_killed_shim_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut server, to) = Policyd::unix(dir.path());
    server.kill();
    let (mut shim, numbers) = client(dir.path(), &to, None, "a", 1);
    while numbers.recv_timeout(LONG).unwrap() < 100 {}
    let mut config = Config::new("node", dir.path().join("node"));
    config.server = Some(to);
    let deliver = |config: &Config| deliver_orphans(config.clone(), Arc::new(Quiet), LONG).unwrap();
    assert_eq!(deliver(&config).left, 0, "a live shim's spool is not an orphan");
    shim.kill().unwrap();
    shim.wait().unwrap();
    let last = numbers.iter().last().unwrap_or(100);
    let away = deliver(&config);
    assert_eq!((away.streams, away.left), (0, 1), "the server is away: nothing is lost");
    server.restart();
    let done = deliver(&config);
    assert_eq!((done.streams, done.left), (1, 0));
    assert!(done.records == last || done.records == last + 1);
    assert_eq!(server.ledger().len() as u64, done.records);
}
