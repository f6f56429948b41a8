//! Containers that containerd has forgotten: killed while it started one, it may never have
//! noted whom it had started, and then nobody would ever end it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacre_types::chain;
use slog::{Logger, warn};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::guard::Guard;
use crate::inner::client::Inner;
use crate::messages::ProcessId;
use crate::relay::{Connections, Containers};

/// How often to look, while nobody is connected, and how many looks in a row must find
/// containerd there without us. It connects to every shim that it knows before it takes
/// calls itself.
const LOOKS: (Duration, u32) = (Duration::from_secs(1), 5);
/// How long a killed container may take to end.
const ENDING: Duration = Duration::from_secs(5);
const SIGKILL: u32 = 9;
/// How long a shim without containers is left alone. A container is created as soon as its
/// shim is there, and a shim told to end with its last one.
const EMPTY: Duration = Duration::from_secs(8);

/// Returns when containerd, at `socket`, is there and does not know us. While it is away,
/// containers live on: it may be being upgraded.
pub(crate) async fn forgotten(socket: &Path, open: &Connections) {
    let mut looks = 0;
    while looks < LOOKS.1 {
        open.ended().await;
        sleep(LOOKS.0).await;
        let there = UnixStream::connect(socket).await.is_ok();
        looks = if there && !open.any() { looks + 1 } else { 0 };
    }
}

/// Returns when there has been no container for long: containerd 1.6, killed before it
/// created one, comes back, connects and leaves it at that.
///
/// Never for a shim of version 3, which may be a sandbox that has no containers yet.
pub(crate) async fn empty(version: u32, containers: &Containers) {
    if version >= 3 {
        return std::future::pending().await;
    }
    containers.none_for(EMPTY).await;
}

/// Ends every container, and asks the inner shim to end. One that does not end keeps no other
/// from it.
pub(crate) async fn end(
    id: &str,
    containers: &Arc<Containers>,
    guard: &Arc<dyn Guard>,
    inner: &Inner,
    log: &Logger,
) {
    let mut ending = JoinSet::new();
    for (container, generation) in containers.all() {
        warn!(log, "ending a container that containerd has forgotten"; "container" => &container);
        let (containers, guard) = (Arc::clone(containers), Arc::clone(guard));
        let (inner, log) = (inner.clone(), log.clone());
        ending.spawn(async move {
            let process = ProcessId::init(container);
            // One that has ended can't be killed, and can be deleted. Its first process alone,
            // since others may be in its cgroup; what that leaves the guard ends.
            let _ = inner.kill(&process.killed_by(SIGKILL)).await;
            let _ = timeout(ENDING, inner.wait(&process)).await;
            if let Err(error) = inner.delete(&process).await {
                warn!(log, "deleting a forgotten container"; "error" => chain(&error));
            }
            guard.end(&generation).await;
            containers.end(&process.id, &generation);
        });
    }
    while ending.join_next().await.is_some() {}
    if let Err(error) = inner.shutdown(id).await {
        // It may have ended before it could answer.
        warn!(log, "asking the inner shim to end"; "error" => chain(&error));
    }
}
