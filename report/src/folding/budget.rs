//! Bytes that a container may have written.

use std::time::Duration;

/// Bytes that may be written at once, and how many more each second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    most: u64,
    each_second: u64,
    left: u64,
    at: Duration,
}

impl Budget {
    pub(super) const fn new(most: u64, each_second: u64) -> Self {
        Self { most, each_second, left: most, at: Duration::ZERO }
    }

    pub(super) fn refill(&mut self, now: Duration) {
        // Whole seconds, so that nothing is lost to rounding.
        let seconds = now.saturating_sub(self.at).as_secs();
        self.at += Duration::from_secs(seconds);
        self.left =
            self.most.min(self.left.saturating_add(seconds.saturating_mul(self.each_second)));
    }

    pub(super) const fn has(&self, bytes: u64) -> bool {
        bytes <= self.left
    }

    pub(super) const fn take(&mut self, bytes: u64) -> bool {
        let has = self.has(bytes);
        if has {
            self.left -= bytes;
        }
        has
    }
}
