use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lacre_proto::Connector;
use tokio::sync::{Notify, watch};

use crate::counters::{Counting, count};
use crate::entry::Entry;
use crate::message::Answer;
use crate::note::Note;
use crate::policies::StoredPolicy;
use crate::session;
use crate::spool::{Spool, SpoolError};
use crate::writer::{RecordWriter, Rotation};

/// The most containers of one reporter: kubelet allows 110 pods on a *node*, and a pod
/// has a handful of containers.
const CONTAINERS: usize = 1024;

/// What a reporter needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// Where the spool and the last policies are, such as `/var/lib/lacre`.
    pub state: PathBuf,
    /// The node's record file, such as `/var/log/lacre/violations.jsonl`; `None`: no file.
    pub records: Option<PathBuf>,
    /// When the record file is put aside.
    pub rotation: Rotation,
    /// The policy server; `None`: there is none, and nothing is spooled.
    pub server: Option<Connector>,
    /// The most bytes of the spool.
    pub spool_limit: u64,
}

impl Config {
    /// The usual bounds, no record file, no server.
    #[must_use]
    pub fn new(node: impl Into<String>, state: impl Into<PathBuf>) -> Self {
        Self {
            node: node.into(),
            state: state.into(),
            records: None,
            rotation: Rotation::default(),
            server: None,
            spool_limit: 16 * 1024 * 1024,
        }
    }

    pub(crate) fn spools(&self) -> PathBuf {
        self.state.join("spool")
    }
}

/// A container, as the policy tells it from others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// containerd's id.
    pub id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The digests by which its image is known, each `sha256:…`: of the configuration, of
    /// the manifest, of the index.
    pub image_digests: Vec<String>,
    /// The image as the user named it; empty when nobody knows.
    pub image_name: String,
    /// containerd's labels.
    pub labels: BTreeMap<String, String>,
    /// The OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// The pod's sandbox, where there is one.
    pub pod: Option<String>,
    /// The pod's namespace in Kubernetes, where there is one.
    pub pod_namespace: Option<String>,
}

/// Where the reporter's news go. Called on its own thread; whoever blocks here delays
/// reports, and no verdict.
pub trait Events: Send + Sync + 'static {
    /// A container's policy came, or changed. It is stored already.
    fn policy(&self, namespace: &str, container: &str, policy: &StoredPolicy);

    /// What this node shows of its logs is known not to be the truth, since `since` (seconds
    /// after 1970, by the server's clock). It is said at every registration of a container.
    fn tampered(&self, _container: &str, _since: u64) {}

    /// The server says what is to be done about record `number`; 0: about no record.
    /// `overrules`: it is not what the record says was done. The same answer may come twice.
    fn answer(&self, number: u64, answer: &Answer, overrules: bool, rule: &str);

    /// Something to be logged.
    fn note(&self, note: Note);
}

/// Why a reporter cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The record file cannot be opened.
    #[error("opening the record file {}", .0.display())]
    Records(PathBuf, #[source] std::io::Error),
    /// The spool cannot be made.
    #[error("making a spool")]
    Spool(#[source] SpoolError),
    /// The thread cannot be started.
    #[error("starting the reporter's thread")]
    Thread(#[source] std::io::Error),
}

/// Numbers records, writes them down, and delivers them.
#[derive(Debug)]
pub struct Reporter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) counting: Arc<Counting>,
    pub(crate) wake: Notify,
    /// Until when to go on, once it is to end.
    pub(crate) stop: watch::Sender<Option<Instant>>,
    own: Mutex<Own>,
    containers: Mutex<Containers>,
    writer: Option<RecordWriter>,
    /// Numbers records where there is no spool.
    numbers: AtomicU64,
    /// Numbers what is said of containers, so that a later word is told from an earlier.
    changes: AtomicU64,
}

#[derive(Default)]
struct Own {
    spool: Option<Spool>,
    failing: bool,
}

type Containers = BTreeMap<(String, String), (u64, Container)>;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        events: Arc<dyn Events>,
        spool: Option<Spool>,
        writer: Option<RecordWriter>,
        counting: Arc<Counting>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            events,
            counting,
            wake: Notify::new(),
            stop: watch::Sender::new(None),
            own: Mutex::new(Own { spool, failing: false }),
            containers: Mutex::default(),
            writer,
            numbers: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        })
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the own spool, if there is one.
    pub(crate) fn with_spool<T>(&self, f: impl FnOnce(&mut Spool) -> T) -> Option<T> {
        self.own().spool.as_mut().map(f)
    }

    pub(crate) fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Opens the record file and a spool, and goes looking for the server.
    ///
    /// # Errors
    /// When a file or the thread cannot be had. That the server is away is none.
    pub fn start(config: Config, events: Arc<dyn Events>) -> Result<Self, StartError> {
        let counting = Arc::<Counting>::default();
        let writer = match &config.records {
            Some(path) => Some(
                RecordWriter::counted(path, config.rotation, &config.node, Arc::clone(&counting))
                    .map_err(|error| StartError::Records(path.clone(), error))?,
            ),
            None => None,
        };
        let spool = match &config.server {
            Some(_) => Some(
                Spool::create(&config.spools(), config.spool_limit, &config.node)
                    .map_err(StartError::Spool)?,
            ),
            None => None,
        };
        let shared = Shared::new(config, events, spool, writer, counting);
        let thread = match &shared.config.server {
            Some(_) => Some(session::start(Arc::clone(&shared)).map_err(StartError::Thread)?),
            None => None,
        };
        Ok(Self { shared, thread: Mutex::new(thread) })
    }

    /// Reports a record. It never waits for the network: when this returns, the record is
    /// on its way to the record file, and in the spool, which survives this process.
    ///
    /// Returns its number; `None` when the spool had no room, which the spool itself says.
    pub fn report(&self, entry: impl Into<Entry>) -> Option<u64> {
        let mut entry = entry.into();
        let mut own = self.shared.own();
        let number = match &mut own.spool {
            Some(spool) => match spool.append(&mut entry) {
                Ok(number) => {
                    own.failing = false;
                    count(&self.shared.counting.spooled, 1);
                    Some(number)
                }
                Err(error) => {
                    count(&self.shared.counting.spool_lost, 1);
                    if !std::mem::replace(&mut own.failing, true) {
                        self.shared.events.note(Note::NotSpooled(error));
                    }
                    None
                }
            },
            None => {
                let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed) + 1;
                entry.number(None, Some(number));
                Some(number)
            }
        };
        // Under the spool's lock, so that the file has the order of the numbers.
        if let Some(writer) = &self.shared.writer {
            writer.write(entry.encode());
        }
        drop(own);
        self.shared.wake.notify_one();
        number
    }

    /// Asks for the policy of a container, now and whenever it changes. `false` when there
    /// are too many containers.
    pub fn register(&self, container: Container) -> bool {
        let key = (container.namespace.clone(), container.id.clone());
        let mut containers = self.shared.containers();
        if containers.len() >= CONTAINERS && !containers.contains_key(&key) {
            return false;
        }
        let change = self.shared.changes.fetch_add(1, Ordering::Relaxed);
        containers.insert(key, (change, container));
        drop(containers);
        self.shared.wake.notify_one();
        true
    }

    /// The container is gone, and so is its stored policy.
    pub fn unregister(&self, namespace: &str, container: &str) {
        self.shared.containers().remove(&(namespace.to_owned(), container.to_owned()));
        StoredPolicy::forget(&self.shared.config.state, namespace, container);
        self.shared.wake.notify_one();
    }

    /// What was done and what was lost.
    #[must_use]
    pub fn counters(&self) -> crate::Counters {
        self.shared.counting.read()
    }

    /// Ends: delivers what is left, for at most `limit`, and writes the record file. What
    /// could not be delivered stays on disk, for the next shim of this node to adopt.
    pub fn stop(&self, limit: Duration) {
        self.shared.stop.send_replace(Some(Instant::now() + limit));
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let mut own = self.shared.own();
        if own.spool.as_ref().is_some_and(Spool::is_done)
            && let Some(spool) = own.spool.take()
        {
            // Should it stay, it is adopted, found delivered, and removed then.
            let _ = spool.remove();
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let running = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        if running {
            self.stop(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gap, GapReason};

    struct Silent;

    impl Events for Silent {
        fn policy(&self, _: &str, _: &str, _: &StoredPolicy) {}
        fn answer(&self, _: u64, _: &Answer, _: bool, _: &str) {}
        fn note(&self, _: Note) {}
    }

    #[test]
    fn with_no_server_records_are_numbered_without_a_hole() {
        let state = tempfile::tempdir().unwrap();
        let reporter = Reporter::start(Config::new("n", state.path()), Arc::new(Silent)).unwrap();
        for number in 1..4 {
            assert!(reporter.register(Container::default()));
            assert_eq!(reporter.report(Gap::new(GapReason::Torn, None, "n")), Some(number));
        }
    }
}
