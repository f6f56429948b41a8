//! What all connections share.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

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
use crate::orders::{Gate, Target, What};
use crate::policy::PolicyFile;
use crate::registered::Registry;
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
    /// What all orders go through.
    pub gate: Gate,
    pub(crate) registry: Registry,
    /// Held while a policy is weighed and put in force: until it is, an order about it has no
    /// cause that anybody else could see.
    reloading: Mutex<()>,
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
        gate: Gate,
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
        let (registry, reloading) = (Registry::default(), Mutex::default());
        gate.keep_policy(&policy.get());
        Ok(Self {
            instance,
            policy,
            ledger,
            nodes,
            attest,
            gate,
            registry,
            reloading,
            stop,
            log,
            limit,
        })
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
            self.gate.keep_policy(&loaded);
            {
                let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
                self.weigh(&loaded);
                self.policy.put(loaded);
            }
            self.withdraw();
        }
        if let Some(book) = &self.attest
            && let Some(loaded) = self.fresh(&book.file)
        {
            book.expect(loaded);
        }
    }

    /// Asks for a policy whether it may be handed to those that run already, all of them together,
    /// before anybody is told of it.
    fn weigh(&self, fresh: &Loaded<PolicyFile>) {
        let had = |version: &str| self.gate.policy(version);
        let tightened = self
            .registry
            .those(None, |known| known.is_tightened_by(&fresh.policy, &fresh.version, had));
        if !tightened.is_empty() {
            let what = What::policy(fresh.version.clone());
            self.gate.may(&what, tightened, self.node_count());
            self.gate.save_or_say();
        }
    }

    /// Ends the orders that have lost their cause.
    pub(crate) fn withdraw(&self) {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let tampered = |principal: &str| self.attest.as_ref()?.tampered(principal);
        self.gate.withdraw(&self.policy.get().version, tampered);
    }

    /// A life of a container begins to be known: what waits for an earlier one that nobody runs any
    /// more is over. `is_new`: it has nothing from a server, nor from its node.
    pub(crate) fn begins(&self, target: &Target, life: &str, is_new: bool) {
        for other in self.gate.lives(target) {
            let another = other != life || (life.is_empty() && is_new);
            // Until nodes have come back, nobody knows what they run.
            if another && self.gate.settles().is_none() && !self.registry.has(target, &other) {
                self.gate.ended(target, &other);
            }
        }
    }

    /// How many nodes there are: those that were seen, or those that are enrolled.
    pub(crate) fn node_count(&self) -> usize {
        let enrolled = self.attest.as_ref().map_or(0, |book| book.count());
        self.nodes.count().max(enrolled)
    }

    /// Weighs what was gathered since the start, once nodes have come back.
    pub async fn settle(&self) {
        if let Some(at) = self.gate.settles() {
            tokio::time::sleep_until(at.into()).await;
            tokio::task::block_in_place(|| self.gate.settle(|| self.node_count()));
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
            tokio::task::block_in_place(|| {
                self.reload();
                self.withdraw();
                self.gate.remind();
                if let Some(book) = &self.attest {
                    book.tell_of_silence();
                }
            });
        }
    }
}
