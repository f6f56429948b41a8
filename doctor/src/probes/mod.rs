//! Looking at the node. Nothing here changes it: what is made to try something (a BPF program, a
//! fanotify group, a perf event) is this process's own and gone a moment later.
//!
//! Each probe has a deadline, and a thread of its own, so that a daemon or a file system that
//! hangs costs its line and no other.

mod config;
mod containerd;
mod docker;
mod kernel;
mod limit;
mod named;
mod offers;
mod policy_server;
mod processes;

use std::path::PathBuf;
use std::time::Duration;

pub use named::{Absent, absent};

use crate::facts::{Facts, Offers, Seen};
use limit::Probe;

/// How long a probe may take. containerd answers in milliseconds, and under heavy disk load in
/// seconds.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Where to look, where it is not where it is by default.
#[derive(Debug, Clone)]
pub struct Ask {
    /// A configuration of lacre's to look at instead of those that are found.
    pub config: Option<PathBuf>,
    /// dockerd's socket; by default what the configuration says.
    pub docker: Option<PathBuf>,
    /// How long each probe may take.
    pub limit: Duration,
}

impl Default for Ask {
    fn default() -> Self {
        Self { config: None, docker: None, limit: LIMIT }
    }
}

/// What the kernel gives to see by, alone.
#[must_use]
pub fn offers(limit: Duration) -> Offers {
    offers::Tries::start().wait(limit)
}

/// Looks at all of it.
#[must_use]
pub fn probe(ask: &Ask) -> Facts {
    let limit = ask.limit;
    let kernel = Probe::start("the kernel", kernel::kernel);
    let ima = Probe::start("IMA", kernel::ima);
    let tpm = Probe::start("the TPM", kernel::tpm);
    let fanotify = Probe::start("fanotify's limits", kernel::fanotify_limits);
    let cgroups = Probe::start("cgroups", kernel::cgroups);
    let offers = offers::Tries::start();
    // Each daemon and each file has its own limit within.
    let all = limit.saturating_mul(3) + limit::SLACK * 2;
    let daemons =
        Probe::start("containerd", move || containerd::all(limit)).wait(all).and_then_seen();
    let found = daemons.known().cloned().unwrap_or_default();
    let named = ask.config.clone();
    let configs = Probe::start("lacre's configuration", move || config::all(named, &found, limit));
    let configs = configs.wait(all).and_then_seen();
    let docker_socket = ask.docker.clone().unwrap_or_else(|| config::docker(&configs));
    let at = docker_socket.clone();
    let docker = Probe::start("Docker", move || docker::look(&at, limit));
    Facts {
        root: rustix::process::geteuid().is_root(),
        first_user_namespace: kernel::is_first_user_namespace(),
        kernel: kernel.wait(limit),
        offers: offers.wait(limit),
        ima: ima.wait(limit),
        tpm: tpm.wait(limit),
        fanotify: fanotify.wait(limit),
        cgroups: cgroups.wait(limit),
        docker_socket,
        docker: docker.wait(limit.saturating_mul(2)).and_then_seen(),
        daemons,
        configs,
    }
}

impl<T> Seen<Seen<T>> {
    fn and_then_seen(self) -> Seen<T> {
        match self {
            Self::Seen(inner) => inner,
            Self::Unseen(why) => Seen::Unseen(why),
        }
    }
}
