use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines on their way to a thread, bounded in bytes. Whoever puts one in never waits.
#[derive(Debug)]
pub(crate) struct Queue {
    limit: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
    closed: bool,
}

/// What there was in a queue.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// All lines, each with its line feed.
    pub(crate) bytes: Vec<u8>,
    /// How many.
    pub(crate) lines: u64,
    /// How many found no room before those.
    pub(crate) lost: u64,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, inside: Mutex::default(), changed: Condvar::new() }
    }

    /// `false` when it is full, or closed: then the line is counted as lost.
    pub(crate) fn put(&self, mut line: Vec<u8>) -> bool {
        line.push(b'\n');
        let mut inside = self.lock();
        if inside.closed || inside.bytes + line.len() > self.limit {
            inside.lost += 1;
            return false;
        }
        inside.bytes += line.len();
        inside.lines.push_back(line);
        drop(inside);
        self.changed.notify_one();
        true
    }

    /// Waits for lines; `None` when it is closed and empty.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut inside = self.lock();
        while inside.lines.is_empty() && inside.lost == 0 && !inside.closed {
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        if inside.lines.is_empty() && inside.lost == 0 {
            return None;
        }
        let lines = std::mem::take(&mut inside.lines);
        let lost = std::mem::take(&mut inside.lost);
        let mut bytes = Vec::with_capacity(std::mem::take(&mut inside.bytes));
        drop(inside);
        let count = lines.len() as u64;
        for line in lines {
            bytes.extend_from_slice(&line);
        }
        Some(Taken { bytes, lines: count, lost })
    }

    /// Waits for a while, or until it is closed. Returns whether it is closed.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut inside = self.lock();
        while !inside.closed {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            inside =
                self.changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inside.closed
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
