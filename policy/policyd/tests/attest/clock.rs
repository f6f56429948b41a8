//! Silence, whatever the server's clock says.

use std::time::{Duration, Instant};

use crate::attesting::Server;
use crate::node::Node;
use crate::set_clock::SetClock;
use crate::support::until;

/// Two intervals of these tests, and as much as a busy machine takes.
const SILENT: Duration = Duration::from_secs(9);

fn wait_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

#[test]
fn who_sets_the_clock_makes_no_node_stale_and_no_silent_one_trusted() {
    let (node, clock) = (Node::new(), SetClock::new());
    let mut server = Server::under(&node, "interval: 4\n", &clock.environment());
    let agent = node.agent(&server.args(), &[]);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    for ahead in [86_400, -86_400, 30, -30, 0] {
        clock.set(ahead);
        assert_eq!(server.state(), "trusted", "{ahead}");
        // Nor is what it shows then too late, or too early.
        assert_eq!(agent.state(), "trusted", "{ahead}: {:?}", server.node());
        assert_eq!(server.state(), "trusted", "{ahead}");
    }
    drop(agent);
    let silent = Instant::now();
    assert_eq!(server.state(), "trusted");
    wait_until(silent + SILENT);
    for ahead in [0, -9, -4, 9] {
        // By the clock it was heard of just now.
        clock.set(ahead);
        assert_eq!(server.node().0["state"], "stale", "{ahead}");
    }
    clock.set(-9);
    server.policyd.kill();
    server.policyd.restart();
    assert_eq!(server.state(), "stale", "over a restart");
    server.policyd.wait_for("a node has fallen silent");
}

#[test]
fn who_falls_silent_while_the_server_is_away_is_stale_within_its_deadline() {
    let (node, clock) = (Node::new(), SetClock::new());
    let mut server = Server::under(&node, "interval: 4\n", &clock.environment());
    let agent = node.agent(&server.args(), &[]);
    assert_eq!(agent.state(), "trusted", "{:?}", server.node());
    // From evidence that is as young as can be.
    assert_eq!(server.attest(&agent), "trusted", "{:?}", server.node());
    drop(agent);
    let silent = Instant::now();
    server.policyd.kill();
    clock.set(-3600);
    server.policyd.restart();
    assert_eq!(server.state(), "trusted", "it is not silent for so long yet");
    server.policyd.kill();
    wait_until(silent + SILENT);
    clock.set(-9);
    server.policyd.restart();
    assert_eq!(server.state(), "stale");
    // It is asked at once when it comes back.
    let _agent = node.agent(&server.args(), &[]);
    until("trusted again", || server.state() == "trusted");
}
