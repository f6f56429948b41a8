use std::sync::atomic::{AtomicU64, Ordering};

use lacre_types::Mode;

use crate::{Answer, Outcome};

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
    /// Its file system does not keep what a lease or a date promises.
    NoPromise,
    /// Which file of which layer it is can't be told.
    Unplaced,
    /// It is larger than what is read.
    TooLarge,
    /// Not even `statx` told what it is.
    NoFacts,
    /// The kernel could not open the file for us, and denied the event itself.
    Unopened,
    /// The kernel's queue overflowed, and let processes pass.
    Overflow,
    /// The kernel would not take an answer.
    Response,
    /// A mount that came later could not be marked.
    Unmarked,
    /// A file system above a mount did not answer in time: it is marked when it does.
    Unreached,
    /// An ignore mark could not be taken back.
    Unheeded,
    /// The source was disarmed while the file was read.
    Disarmed,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The process is denied in enforce mode and let through in audit mode, and the
    /// measurement says that the content was not read.
    Refuse,
    /// Nobody can be denied any more: the source reports a loss.
    Lost,
    /// Nothing: of what it is about nothing is believed.
    Counted,
}

/// In the order of the enum.
const TABLE: [(Failure, &str, Follows, &str); 16] = {
    use Failure as F;
    use Follows::{Counted, Lost, Refuse};
    [
        (F::Deadline, "deadline", Refuse, "it was not read within the deadline"),
        (F::QueueFull, "queue-full", Refuse, "too many files wait to be read"),
        (F::Unreadable, "unreadable", Refuse, "reading it failed"),
        (F::Changed, "changed", Refuse, "it changes while it is read"),
        (F::Writer, "writer", Refuse, "it may be open for writing"),
        (
            F::NoPromise,
            "no-promise",
            Refuse,
            "it lies where nobody can promise that it stays the same",
        ),
        (F::Unplaced, "unplaced", Refuse, "it can't be told which file of which layer it is"),
        (F::TooLarge, "too-large", Refuse, "it has more bytes than are read (1 GiB)"),
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
        (
            F::Unreached,
            "unreached",
            Counted,
            "a file system above a mount of the container did not answer in time",
        ),
        (F::Unheeded, "unheeded", Lost, "an ignore mark could not be taken back"),
        (F::Disarmed, "disarmed", Refuse, "the source was disarmed while it was read"),
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

/// An answer, and the mode that it was given in: what became of it is told by both, however
/// much later that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) mode: Mode,
    pub(super) answer: Answer,
}

impl Ruling {
    pub(super) const fn of_failure(mode: Mode, failure: Failure) -> Self {
        Self { mode, answer: failure.answer(mode) }
    }

    pub(super) const fn outcome(self) -> Outcome {
        match (self.answer, self.mode) {
            (Answer::Deny, _) => Outcome::Denied,
            (Answer::Allow, Mode::Audit) => Outcome::Watched,
            (Answer::Allow, Mode::Enforce) => Outcome::Ran,
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
