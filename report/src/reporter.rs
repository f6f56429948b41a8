//! The handle by which a shim reports, and the two threads behind it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lacre_types::ViolationKind;

use crate::config::Config;
use crate::container::Container;
use crate::counters::Counters;
use crate::entry::Entry;
use crate::events::Events;
use crate::files::Files;
use crate::folding::{Number, Told};
use crate::gap::{Gap, GapReason};
use crate::log_note::Note;
use crate::outcome::Outcome;
use crate::policies::StoredPolicy;
use crate::record::Record;
use crate::release::Release;
use crate::reporter_state::{Registered, Shared, StartError};
use crate::server_link::Link;
use crate::thread_end::Ending;
use crate::{disk, session};

/// Numbers records, writes them down, and delivers them.
///
/// It never waits for a disk, nor for the network: two threads of its own do.
#[derive(Debug)]
pub struct Reporter {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    disk: Ending,
    session: Option<Ending>,
}

impl Reporter {
    /// Begins: a record file and a spool that cannot be had yet are tried again, and so is
    /// the server.
    ///
    /// # Errors
    /// When the threads cannot be had.
    pub fn start(config: Config, events: Arc<dyn Events>) -> Result<Self, StartError> {
        let shared = Shared::new(config, events)?;
        let disk = disk::start(Arc::clone(&shared), true).map_err(StartError::Thread)?;
        let session = shared.config.server.as_ref().map(|_| session::start(Arc::clone(&shared)));
        let session = session.transpose().map_err(StartError::Thread)?;
        Ok(Self { shared, threads: Mutex::new(Some(Threads { disk, session })) })
    }

    /// Reports a violation. It waits for nothing: when this returns, the record is on its way
    /// to the disk's thread, or is counted with an equal one of its container that is.
    /// What [`flush`](Self::flush) has seen off survives this process.
    pub fn report(&self, record: Record) -> Told {
        self.shared.intake.record(record)
    }

    /// A use that is on record as `before` came to something worse.
    pub fn amend(&self, before: &Record, worse: Record) -> Told {
        self.shared.intake.amend(before, worse)
    }

    /// Reports what came of an action about the violation that `of` numbers. Equal outcomes
    /// within a second are one line.
    pub fn answer(&self, outcome: Outcome, of: Option<Number>) {
        self.shared.intake.outcome(outcome, of);
    }

    /// Says that records are missing.
    pub fn gap(&self, gap: Gap) -> Number {
        self.shared.intake.line(Entry::from(gap))
    }

    /// Reports that an operator has let a container go on.
    pub fn released(&self, release: Release) -> Number {
        self.shared.intake.line(Entry::from(release))
    }

    /// So many uses of that kind have no record, because the container had more different ones
    /// than there is room for.
    pub fn lost(&self, namespace: &str, container: &str, kind: ViolationKind, uses: u64) {
        self.shared.intake.lost(namespace, container, GapReason::beyond(kind), uses);
    }

    /// Waits until all that was handed in is on disk, for at most `limit`; returns whether it
    /// is.
    pub fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            match self.seen_off(until) {
                Some(false) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                seen_off => return seen_off == Some(true),
            }
        }
    }

    /// Waits until the disk's thread has done once what it can with all that was handed in,
    /// and gives whether the disk took it all. `None`: not within that time.
    fn seen_off(&self, until: Instant) -> Option<bool> {
        let (done, clean) = std::sync::mpsc::sync_channel(1);
        let job = move |files: &mut Files| {
            // Who asked may have gone.
            let _ = done.try_send(files.is_clean());
        };
        self.shared.intake.flush();
        if !self.shared.intake.job(Box::new(job)) {
            return None;
        }
        clean.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Asks for the policy of a container, now and whenever it changes. `false` when there
    /// are too many containers.
    pub fn register(&self, container: Container) -> bool {
        if !self.shared.add(container) {
            return false;
        }
        self.shared.wake.notify_one();
        true
    }

    /// The container runs by a policy of the node's own: JSON, as lacre-policy's `Effective`. The
    /// server is told, so that it knows what another would change.
    pub fn holds(&self, namespace: &str, container: &str, own: Vec<u8>) {
        let key = (namespace.to_owned(), container.to_owned());
        if let Some(known) = self.shared.containers().get_mut(&key)
            && own.len() <= OWN
        {
            known.own = own.into();
        }
    }

    /// The container is gone, and so is its stored policy. How often its violations were seen
    /// is told now.
    pub fn unregister(&self, namespace: &str, container: &str) {
        let key = (namespace.to_owned(), container.to_owned());
        let known = self.shared.containers().remove(&key);
        self.shared.intake.end(namespace, container);
        if let Some(Registered { container: Container { generation, .. }, .. }) = known {
            let state = self.shared.config.state.clone();
            // Should it stay, it is no other container's.
            self.shared.intake.job(Box::new(move |_| StoredPolicy::forget(&state, &generation)));
        }
        self.shared.wake.notify_one();
    }

    /// Whether the policy server is reached; `None`: there is none.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.shared.config.server.as_ref().map(|_| self.shared.link.read())
    }

    /// The orders about a container that were held when it was told of them.
    #[must_use]
    pub fn held(&self, namespace: &str, container: &str) -> Vec<u64> {
        let key = (namespace.to_owned(), container.to_owned());
        let containers = self.shared.containers();
        containers.get(&key).map(|known| known.held.iter().copied().collect()).unwrap_or_default()
    }

    /// What was done and what was lost.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counting.read()
    }

    /// Ends: writes down what waits, and delivers what is left, for at most `limit`. What
    /// could not be delivered stays on disk, for the next shim of this node to adopt. What a
    /// disk that stands still has not taken by then is lost.
    pub fn stop(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { disk, session }) = threads else { return };
        self.seen_off(until);
        self.shared.stop.send_replace(Some(until));
        self.shared.wake.notify_one();
        if let Some(session) = session {
            session.wait(until);
        }
        self.shared.intake.close();
        // A moment more than nothing: it has only to look.
        disk.wait(until.max(Instant::now() + LAST_LOOK));
        self.shared.events.note(Note::Ended(self.counters()));
    }
}

/// The longest policy of the node's own that the server is told of; of a longer one it is told
/// nothing, and a container with it is one that is still to be started.
const OWN: usize = 256 * 1024;

/// What the disk's thread has, in any case, to end.
const LAST_LOOK: Duration = Duration::from_millis(100);

impl Drop for Reporter {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::Answer;

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
            let given = reporter.gap(Gap::new(GapReason::Torn, None, "n"));
            assert!(reporter.flush(Duration::from_secs(10)));
            assert_eq!(given.get(), Some(number));
        }
    }

    /// Its container ends while the disk refuses, and with it the process that had its records.
    #[test]
    fn what_the_file_refused_to_the_last_the_next_process_writes() {
        let dir = tempfile::tempdir().unwrap();
        let records = dir.path().join("records");
        let mut config = Config::new("n", dir.path().join("state"));
        config.records = Some(records.clone());
        let reporter = |config: &Config| Reporter::start(config.clone(), Arc::new(Silent)).unwrap();
        let lost = |reason| Gap::new(reason, Some(7), "n").of(&Some("ns/c".into()));
        // A folder is no file that could be opened.
        std::fs::create_dir(&records).unwrap();
        let first = reporter(&config);
        first.gap(lost(GapReason::Flood));
        first.stop(Duration::from_secs(10));
        assert_eq!((first.counters().written, first.counters().write_lost), (0, 0));
        std::fs::remove_dir(&records).unwrap();
        reporter(&config).stop(Duration::from_secs(10));
        let text = std::fs::read_to_string(&records).unwrap();
        assert_eq!(text.matches("flood").count(), 1, "{text}");
        reporter(&config).stop(Duration::from_secs(10));
        assert_eq!(std::fs::read_to_string(&records).unwrap(), text);

        // Where it can be kept nowhere, that is counted.
        std::fs::remove_file(&records).unwrap();
        std::fs::create_dir(&records).unwrap();
        std::fs::remove_dir_all(&config.state).unwrap();
        std::fs::write(&config.state, "").unwrap();
        let last = reporter(&config);
        last.gap(lost(GapReason::Torn));
        last.stop(Duration::from_secs(10));
        assert_eq!(last.counters().write_lost, 1);
    }
}
