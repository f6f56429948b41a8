//! Equal records of a container, folded: which is told as a record of its own, and which is
//! only counted. No I/O, no clock, no lock of its own.

mod budget;
mod equal;
mod ledger;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use lacre_types::{Action, ViolationKind};

use crate::gap::GapReason;
use crate::outcome::Outcome;
use crate::outcome::OutcomeResult;
use crate::record::Record;
use budget::Budget;
use ledger::{Ledger, PAUSE};
pub(crate) use told::Due;
pub use told::{Number, Told};

/// Bytes of new records that a container may write at once, and each second from then on:
/// some 12,000 different files (a whole distribution without a baseline), then one or two a
/// second. In an hour, 12 MiB.
const NEWS: Budget = Budget::new(8 * 1024 * 1024, 1024);

/// The same for files that were read ([`lacre_types::ViolationKind::Report`]), which have no part
/// in it: some 1,200 files, then one every ten seconds. In an hour, 1.2 MiB.
const READ: Budget = Budget::new(1024 * 1024, 64);

/// The same for the lines that say how often. One violation that goes on for ever needs some
/// 330 bytes a second; three are told each second, more take turns. In an hour, 4 MiB.
const UPDATES: Budget = Budget::new(64 * 1024, 1024);

/// The same for files that were read: a line every five seconds. In an hour, 240 KiB.
const READ_UPDATES: Budget = Budget::new(16 * 1024, 64);

/// An outcome that is not told yet, if there is one, and when it may be.
type Held = (Option<Box<Outcome>>, Duration);

/// What one container was seen to do.
#[derive(Debug)]
pub(crate) struct Folds {
    violations: Ledger,
    /// Of files that were read, however many: they take no room from violations.
    read: Ledger,
    /// What actions came to that is not told yet, and when it may be.
    outcomes: BTreeMap<(Action, bool), Held>,
    lost: BTreeMap<GapReason, u64>,
    lost_due: Duration,
}

impl Folds {
    pub(crate) fn new() -> Self {
        Self {
            violations: Ledger::new(NEWS, UPDATES),
            read: Ledger::new(READ, READ_UPDATES),
            outcomes: BTreeMap::new(),
            lost: BTreeMap::new(),
            lost_due: Duration::ZERO,
        }
    }

    const fn ledger(&mut self, kind: ViolationKind) -> &mut Ledger {
        match kind {
            ViolationKind::Report => &mut self.read,
            _ => &mut self.violations,
        }
    }

    /// As many uses as the record says it stands for. `now` is since some fixed time.
    pub(crate) fn see(&mut self, record: &Record, now: Duration) -> Told {
        let told = self.ledger(record.notificate).see(record, now);
        if matches!(told, Told::Lost) {
            self.lose(GapReason::beyond(record.notificate), record.uses());
        }
        told
    }

    /// A use that is on record as `before` turned out worse. `None`: nobody remembers that
    /// record, so that it needs one of its own.
    pub(crate) fn amend(&mut self, before: &Record, worse: &Record) -> Option<Number> {
        self.ledger(before.notificate).amend(before, worse)
    }

    /// What came of an action: to be told now, or with what comes of the next ones.
    pub(crate) fn outcome(&mut self, outcome: Outcome, now: Duration) -> Option<Outcome> {
        let key = (outcome.action, outcome.result == OutcomeResult::Done);
        let (waiting, due) = self.outcomes.entry(key).or_default();
        if waiting.is_none() && *due <= now && self.violations.take_line(now) {
            *due = now + PAUSE;
            return Some(outcome);
        }
        let before = waiting.as_ref().map_or(0, |before| before.times());
        let mut latest = outcome;
        // One line of its own needs no number.
        latest.count = Some(before + latest.times()).filter(|count| *count > 1);
        *waiting = Some(Box::new(latest));
        None
    }

    /// The record of this number was not written: what is counted with it beyond what the
    /// record itself said has no record either, and the next use is told anew.
    pub(crate) fn unwritten(&mut self, number: &Number, uses: u64) {
        let [violations, read] = [&mut self.violations, &mut self.read];
        if let Some(count) = violations.forget(number).or_else(|| read.forget(number)) {
            self.lose(GapReason::SpoolFull, count.saturating_sub(uses));
        }
    }

    /// There was no room for a record that is of its own; its uses are lost, and told.
    pub(crate) fn unqueued(&mut self, record: &Record) {
        self.ledger(record.notificate).forget_record(record);
        self.lose(GapReason::QueueFull, record.uses());
    }

    /// So many uses have no record.
    pub(crate) fn lose(&mut self, reason: GapReason, uses: u64) {
        if uses > 0 {
            *self.lost.entry(reason).or_default() += uses;
        }
    }

    /// What is to be told now; with `last`, all that there is to tell.
    pub(crate) fn due(&mut self, now: Duration, last: bool) -> Vec<Due> {
        let mut told = self.violations.due(now, last);
        for (waiting, due) in self.outcomes.values_mut().filter(|(_, due)| last || *due <= now) {
            if waiting.is_some() && (self.violations.take_line(now) || last) {
                told.extend(waiting.take().map(Due::Outcome));
                *due = now + PAUSE;
            }
        }
        told.extend(self.read.due(now, last));
        if !self.lost.is_empty() && (last || self.lost_due <= now) {
            // Few, short, and the one line that must not wait for its turn.
            let lost = std::mem::take(&mut self.lost).into_iter();
            told.extend(lost.map(|(reason, uses)| Due::Lost(reason, uses)));
            self.lost_due = now + PAUSE;
        }
        told
    }

    /// Whether there is something that [`due`](Self::due) will tell.
    pub(crate) fn has_news(&self) -> bool {
        !self.lost.is_empty()
            || self.outcomes.values().any(|(waiting, _)| waiting.is_some())
            || self.violations.has_news()
            || self.read.has_news()
    }
}

#[cfg(test)]
#[path = "folding/tests.rs"]
pub(crate) mod tests;
