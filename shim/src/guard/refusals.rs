//! Scripts and libraries that fanotify has just refused to open. Another source sees the
//! interpreter that was started on such a script, and not that it never read it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use lacre_types::{CanonicalPath, Event, Measurement};
use rustix::time::{ClockId, clock_gettime};

/// As many are remembered: what is started while one is looked for by another source.
const MOST: usize = 1024;

/// The last refusals of one container.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<VecDeque<Refusal>>);

#[derive(Debug)]
struct Refusal {
    pid: u32,
    path: CanonicalPath,
    /// Nanoseconds since boot.
    at: u64,
}

impl Refusals {
    /// Before its asker has the answer. A program is refused before it is one, and no other
    /// source sees it.
    pub(super) fn note(&self, measurement: &Measurement) {
        let Measurement { event, path, process, .. } = measurement;
        if matches!(event, Event::Exec | Event::Interpreter) {
            return;
        }
        let Some(path) = path.clone() else { return };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MOST {
            last.pop_front();
        }
        last.push_back(Refusal { pid: process.pid, path, at: now() });
    }

    /// Whether the process was refused this after `exec`, nanoseconds since boot: before, it was
    /// another program, or another process of that number.
    pub(super) fn has(&self, measurement: &Measurement, exec: u64) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().any(|refusal| {
            refusal.at >= exec
                && refusal.pid == measurement.process.pid
                && Some(&refusal.path) == measurement.path.as_ref()
        })
    }
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_types::{Content, Process, Source};
    use std::time::SystemTime;

    fn of(pid: u32, path: &str, event: Event) -> Measurement {
        Measurement {
            source: Source::Fanotify,
            event,
            path: CanonicalPath::new(path).ok(),
            content: Content::Size(1),
            process: Process { pid, uid: None },
            time: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_refusal_is_of_one_process_one_path_and_what_it_executed_before() {
        let refusals = Refusals::default();
        let exec = now();
        refusals.note(&of(7, "/tmp/s", Event::Open));
        let asked = |pid, path, exec| refusals.has(&of(pid, path, Event::Script), exec);
        assert!(asked(7, "/tmp/s", exec));
        assert!(!asked(8, "/tmp/s", exec) && !asked(7, "/tmp/t", exec));
        assert!(!asked(7, "/tmp/s", now() + 1), "it has executed something else since");
        let unnamed = Measurement { path: None, ..of(7, "/tmp/s", Event::Script) };
        refusals.note(&unnamed);
        assert!(!refusals.has(&unnamed, exec), "which file that was nobody knows");
    }

    #[test]
    fn a_program_that_was_refused_is_no_refusal_of_a_script() {
        let refusals = Refusals::default();
        refusals.note(&of(7, "/tmp/s", Event::Exec));
        assert!(!refusals.has(&of(7, "/tmp/s", Event::Script), 0));
    }

    #[test]
    fn no_flood_makes_it_grow() {
        let refusals = Refusals::default();
        for pid in 0..5000 {
            refusals.note(&of(pid, "/tmp/s", Event::Open));
        }
        assert!(!refusals.has(&of(0, "/tmp/s", Event::Script), 0));
        assert!(refusals.has(&of(4999, "/tmp/s", Event::Script), 0));
        assert_eq!(refusals.0.lock().unwrap().len(), MOST);
    }
}
