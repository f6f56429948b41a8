//! What a reporter counts of itself, losses above all.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a reporter has done and has lost; all since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Lines in the record file.
    pub written: u64,
    /// Lines that did not get into the record file because it refused, and too many waited: the
    /// file has a gap record that says so; or it refused to the last, and they could be kept
    /// nowhere else.
    pub write_lost: u64,
    /// Writes to the record file that failed and were tried again.
    pub write_failed: u64,
    /// Records in the spool.
    pub spooled: u64,
    /// Records that the spool had no room for. It has a gap record that says so.
    pub spool_lost: u64,
    /// Records that the server acknowledged, adopted spools included.
    pub delivered: u64,
    /// Connections to the server.
    pub connected: u64,
    /// Attempts to connect that failed, and connections that broke.
    pub disconnected: u64,
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { written, write_lost, write_failed, spooled, spool_lost, delivered, .. } = self;
        write!(
            f,
            "{written} lines in the record file ({write_lost} lost, {write_failed} writes \
             failed), {spooled} in the spool ({spool_lost} lost), {delivered} delivered"
        )
    }
}

/// The counters as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) written: AtomicU64,
    pub(crate) write_lost: AtomicU64,
    pub(crate) write_failed: AtomicU64,
    pub(crate) spooled: AtomicU64,
    pub(crate) spool_lost: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) disconnected: AtomicU64,
}

impl Counting {
    pub(crate) fn read(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            written: get(&self.written),
            write_lost: get(&self.write_lost),
            write_failed: get(&self.write_failed),
            spooled: get(&self.spooled),
            spool_lost: get(&self.spool_lost),
            delivered: get(&self.delivered),
            connected: get(&self.connected),
            disconnected: get(&self.disconnected),
        }
    }
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
