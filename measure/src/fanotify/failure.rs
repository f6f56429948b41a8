use std::sync::atomic::{AtomicU64, Ordering};

use lacre_types::Mode;

use crate::Answer;

/// What can go wrong between an event and its answer. The table below says for each what
/// follows; nothing else decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The file was not read in time.
    Deadline,
    /// Too many processes wait already.
    QueueFull,
    /// Reading the file failed.
    Unreadable,
    /// It changed while it was read, twice.
    Changed,
    /// Somebody has it open for writing, or mapped so, or it can't be told.
    Writer,
    /// Not even `fstat` told what it is.
    NoFacts,
    /// The kernel could not open the file for us, and denied the event itself.
    Unopened,
    /// The kernel's queue overflowed, and let processes pass.
    Overflow,
    /// The kernel would not take an answer.
    Response,
    /// A mount that came later could not be marked.
    Unmarked,
    /// An ignore mark could not be taken back.
    Unheeded,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The process is denied in enforce mode and let through in audit mode, and the
    /// measurement says that the content was not read.
    Refuse,
    /// Nobody can be denied any more: the source reports a loss.
    Lost,
}

/// In the order of the enum.
const TABLE: [(Failure, &str, Follows, &str); 11] = {
    use Failure as F;
    use Follows::{Lost, Refuse};
    [
        (F::Deadline, "deadline", Refuse, "it was not read within the deadline"),
        (F::QueueFull, "queue-full", Refuse, "too many files wait to be read"),
        (F::Unreadable, "unreadable", Refuse, "reading it failed"),
        (F::Changed, "changed", Refuse, "it changes while it is read"),
        (F::Writer, "writer", Refuse, "it may be open for writing"),
        (F::NoFacts, "no-facts", Refuse, "it could not be examined"),
        (
            F::Unopened,
            "unopened",
            Lost,
            "the kernel could not open a file for inspection, and denied it",
        ),
        (F::Overflow, "overflow", Lost, "the kernel's queue overflowed"),
        (F::Response, "response", Lost, "the kernel would not take an answer"),
        (F::Unmarked, "unmarked", Lost, "a mount of the container could not be marked"),
        (F::Unheeded, "unheeded", Lost, "an ignore mark could not be taken back"),
    ]
};

impl Failure {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// What follows it.
    #[must_use]
    pub const fn follows(self) -> Follows {
        TABLE[self as usize].2
    }

    /// The reason, for a report.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        TABLE[self as usize].3
    }

    /// The answer to who waits.
    pub(super) const fn answer(self, mode: Mode) -> Answer {
        match mode {
            Mode::Enforce => Answer::Deny,
            Mode::Audit => Answer::Allow,
        }
    }
}

/// How often each failure happened.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; TABLE.len()]);

impl Counters {
    pub(super) fn count(&self, failure: Failure) {
        self.0[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Failure, u64)> {
        TABLE.iter().zip(&self.0).map(|(row, n)| (row.0, n.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_at_its_failures_place() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, at);
        }
    }
}
