//! What the threads of a reporter have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot, watch};

use crate::config::Config;
use crate::container::Container;
use crate::counters::Counting;
use crate::events::Events;
use crate::files::Files;
use crate::intake::Intake;
use crate::server_link::LinkState;
use crate::spool::draw_stream;

/// The most containers of one reporter: kubelet allows 110 pods on a *node*, and a pod
/// has a handful of containers.
const CONTAINERS: usize = 1024;

/// Why a reporter cannot be started. That a file cannot be had, or the server, is no reason:
/// records wait for them, in memory and then on disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread cannot be started.
    #[error("starting the reporter's threads")]
    Thread(#[source] std::io::Error),
    /// The kernel gives no random bytes to name the stream by.
    #[error("drawing a name for the stream of reports")]
    Stream(#[source] std::io::Error),
}

/// The one value of a reporter that all of its threads hold.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The stream that numbers its lines.
    pub(crate) stream: Arc<str>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) counting: Arc<Counting>,
    /// Whether the server is reached.
    pub(crate) link: LinkState,
    pub(crate) intake: Intake,
    pub(crate) wake: Notify,
    /// Until when to go on, once it is to end.
    pub(crate) stop: watch::Sender<Option<Instant>>,
    containers: Mutex<Containers>,
    /// Numbers what is said of containers, so that a later word is told from an earlier.
    changes: AtomicU64,
}

type Containers = BTreeMap<(String, String), Registered>;

/// A container that the server is told of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registered {
    /// The number of what was said of it last.
    pub(crate) change: u64,
    pub(crate) container: Container,
    /// The version of the server's last answer about it, over whatever connection.
    pub(crate) version: String,
    /// What holds for it where no policy of a server does.
    pub(crate) own: Arc<[u8]>,
    /// The orders about it that were told of.
    pub(crate) held: BTreeSet<u64>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(config: Config, events: Arc<dyn Events>) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            stream: draw_stream().map_err(StartError::Stream)?,
            intake: Intake::new(&config.node),
            config,
            events,
            counting: Arc::default(),
            link: LinkState::default(),
            wake: Notify::new(),
            stop: watch::Sender::new(None),
            containers: Mutex::default(),
            changes: AtomicU64::new(0),
        }))
    }

    /// Has the disk's thread do it, and waits without a thread. `None` when it has ended, or
    /// has too much to do.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Files) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        let job = move |files: &mut Files| {
            // Who asked may have gone.
            let _ = done.send(work(files));
        };
        if !self.intake.job(Box::new(job)) {
            return None;
        }
        answer.await.ok()
    }

    /// `false` when there are too many.
    pub(crate) fn add(&self, container: Container) -> bool {
        let key = (container.namespace.clone(), container.id.clone());
        let mut containers = self.containers();
        if containers.len() >= CONTAINERS && !containers.contains_key(&key) {
            return false;
        }
        let change = self.changes.fetch_add(1, Ordering::Relaxed);
        // Another life of that id has nothing yet.
        let before = containers.remove(&key);
        let same = before.filter(|it| it.container.generation == container.generation);
        containers.insert(key, Registered { change, container, ..same.unwrap_or_default() });
        true
    }

    /// Whether that order about a container was not told of yet.
    pub(crate) fn is_news(&self, namespace: Option<&str>, id: &str, order: u64) -> bool {
        let mut containers = self.containers();
        let mut all = containers.iter_mut();
        let one = all.find(|((space, name), _)| {
            name == id && namespace.is_none_or(|namespace| namespace == space)
        });
        one.is_some_and(|(_, registered)| registered.held.insert(order))
    }

    pub(crate) fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
