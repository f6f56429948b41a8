//! What all connections share.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lacre_proto::Peer;
use lacre_proto::policy::StatusResponse;
use lacre_types::chain;
use slog::{Logger, error, info, warn};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::attest::nodes::Book;
use crate::ledger::Ledger;
use crate::logging::Limit;
use crate::nodes::Nodes;
use crate::policy::PolicyFile;
use crate::reload;
use crate::reloaded_file::{Content, Followed, Loaded, Reloaded};

/// Lines about connections and their errors, in a second. The rest is counted.
const LINES: u32 = 20;

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    /// This start of the server.
    pub instance: String,
    /// The policy in force.
    pub policy: Followed<PolicyFile>,
    /// What has arrived.
    pub ledger: Ledger,
    /// Who is connected.
    pub nodes: Nodes,
    /// Which nodes are trusted, where nodes are attested.
    pub attest: Option<Arc<Book>>,
    /// Turns true when the server is to end.
    pub stop: watch::Receiver<bool>,
    pub(crate) log: Logger,
    pub(crate) limit: Limit,
}

impl Server {
    /// A server that nobody is connected to.
    ///
    /// # Errors
    /// When the kernel gives no random bytes for its instance's name.
    pub fn new(
        policy: Followed<PolicyFile>,
        ledger: Ledger,
        attest: Option<Arc<Book>>,
        stop: watch::Receiver<bool>,
        log: Logger,
    ) -> std::io::Result<Self> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
        let mut instance = String::new();
        for byte in random {
            let _ = write!(instance, "{byte:02x}");
        }
        let (nodes, limit) = (Nodes::default(), Limit::new(LINES));
        Ok(Self { instance, policy, ledger, nodes, attest, stop, log, limit })
    }

    /// What `Status` tells to root.
    #[must_use]
    pub fn status(&self) -> StatusResponse {
        let loaded = self.policy.get();
        let counts = self.ledger.counts();
        StatusResponse {
            instance: self.instance.clone(),
            version: loaded.version.clone(),
            loaded: lacre_report::rfc3339(loaded.at),
            error: self.policy.error().unwrap_or_default(),
            warnings: loaded.warnings.clone(),
            nodes: self.nodes.list(),
            records: counts.records.load(Ordering::Relaxed),
            streams: counts.streams.load(Ordering::Relaxed),
            ..StatusResponse::default()
        }
    }

    pub(crate) fn unreadable(&self, peer: &Peer, numbers: &[u64]) {
        if let (Some(first), Some(held)) = (numbers.first(), self.limit.pass()) {
            warn!(self.log, "records that cannot be read; kept as they came";
                "peer" => %peer, "first" => first, "count" => numbers.len(), "held" => held);
        }
    }

    pub(crate) fn not_enrolled(&self, peer: &Peer, why: &str) {
        if let Some(held) = self.limit.pass() {
            warn!(self.log, "a node is not enrolled"; "peer" => %peer, "error" => why,
                "held" => held);
        }
    }

    /// Reads the files that are followed again, and says what came of it.
    pub fn reload(&self) {
        if let Some(loaded) = self.fresh(&self.policy) {
            for warning in &loaded.warnings {
                warn!(self.log, "the policy"; "warning" => warning);
            }
            self.policy.put(loaded);
        }
        if let Some(book) = &self.attest
            && let Some(loaded) = self.fresh(&book.file)
        {
            book.expect(loaded);
        }
    }

    /// What a file says now, if that is good and something else than what is in force.
    fn fresh<T: Content>(&self, followed: &Followed<T>) -> Option<Arc<Loaded<T>>> {
        let (what, file) = (T::WHAT, followed.file().display());
        match followed.read_again() {
            Reloaded::Same | Reloaded::StillBroken => None,
            Reloaded::Fresh(loaded) => {
                let version = &loaded.version;
                info!(self.log, "the {} changed", what; "file" => %file, "version" => version);
                Some(loaded)
            }
            Reloaded::Kept(why) => {
                error!(self.log,
                    "the {} file is broken; what it said before stays in force", what;
                    "file" => %file, "version" => &followed.get().version,
                    "error" => chain(&why));
                None
            }
        }
    }

    /// Reads the files again whenever somebody says that one may have changed, and once in a
    /// while.
    pub async fn follow(&self, mut changed: mpsc::Receiver<()>) {
        let mut anyway = interval(reload::ANYWAY);
        anyway.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = anyway.tick() => {}
                Some(()) = changed.recv() => {
                    sleep(reload::SETTLE).await;
                    while changed.try_recv().is_ok() {}
                }
            }
            // Baselines may be large.
            tokio::task::block_in_place(|| self.reload());
        }
    }
}
