//! What a reporter costs the shim that it runs in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use lacre_report::{Config, Reporter};
use lacre_types::Action;
use support::{Ca, LONG, Policyd, Quiet, record, until};

/// Anonymous memory of this process, in KiB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_reporter_over_tls_stays_small_and_quick() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new("ours");
    let node = ca.node(dir.path(), "a");
    let (server, to) = Policyd::tls(dir.path(), &ca, &node);
    let before = anonymous();
    let mut config = Config::new("node", dir.path().join("node"));
    config.records = Some(dir.path().join("violations.jsonl"));
    config.server = Some(to);
    let reporter = Reporter::start(config, Arc::new(Quiet)).unwrap();
    until("it is connected", || reporter.counters().connected == 1);
    let idle = anonymous() - before;
    let began = Instant::now();
    for number in 0..10_000 {
        reporter.report(record("c", &format!("/{number}"), Action::Skip));
        // So many at once are more than wait in memory.
        if number % 1000 == 999 {
            assert!(reporter.flush(LONG));
        }
    }
    let handed_over = began.elapsed();
    until("all were delivered", || reporter.counters().delivered == 10_000);
    let delivered = began.elapsed();
    let busy = anonymous() - before;
    println!("idle: {idle} KiB; after 10,000 reports: {busy} KiB");
    println!("report(): {:?} each; delivered in {delivered:?}", handed_over / 10_000);
    assert!(idle < 2048, "{idle} KiB");
    assert!(busy < 5120, "{busy} KiB");
    reporter.stop(LONG);
    assert_eq!(server.ledger().len(), 10_000);
}
