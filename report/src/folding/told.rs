//! What is told of what was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lacre_types::Action;

use crate::gap::GapReason;
use crate::outcome::Outcome;
use crate::record::{Became, Record};

/// The number that a record gets in its stream, once it is written.
#[derive(Debug, Clone, Default)]
pub struct Number(pub(super) Arc<AtomicU64>);

impl Number {
    /// The number; `None` while it has none, and for ever when there was no room for it.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|number| *number > 0)
    }

    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Release);
    }
}

/// What became of a violation, and what was therefore done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worst {
    pub(crate) outcome: Became,
    pub(crate) action: Action,
    pub(crate) rule: Option<String>,
}

impl Worst {
    pub(super) fn of(record: &Record) -> Self {
        Self { outcome: record.outcome, action: record.action, rule: record.rule.clone() }
    }
}

/// What became of a record that was handed in.
#[derive(Debug, Clone)]
pub enum Told {
    /// It is a record of its own, and will have this number.
    Anew(Number),
    /// It is counted with the record of this number.
    Counted(Number),
    /// There is no room for a record: it is counted, and the count will be told.
    Lost,
}

/// What is to be written besides new records.
#[derive(Debug)]
pub(crate) enum Due {
    /// How often a violation was seen by now, of which `fresh` times are news.
    Update { of: Number, count: u64, fresh: u64, last: String, worst: Worst },
    /// What came of an action, as many times as it says.
    Outcome(Box<Outcome>),
    /// How many uses have no record, since this was last told, and why.
    Lost(GapReason, u64),
}
