//! Equal records of a container, folded: which is told as a record of its own, and which is
//! only counted. No I/O, no clock, no lock of its own.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lacre_types::{Action, ViolationKind};

use crate::entry::{GapReason, Outcome, OutcomeResult};
use crate::record::{Became, Record};

/// How many different violations of a container are counted at a time: some 150 KiB. A new
/// one takes the place of the one that was seen last the longest ago; while there is none
/// whose count is told, it is counted with the others that have no record (`flood`).
const KEYS: usize = 1024;

/// Bytes of new records that a container may write at once, and each second from then on:
/// some 12,000 different files (a whole distribution without a baseline), then one or two a
/// second. In an hour, 12 MiB.
const NEWS: Budget = Budget::new(8 * 1024 * 1024, 1024);

/// The same for files that were read ([`lacre_types::ViolationKind::Report`]), which have no part
/// in it: some 1,200 files, then one every ten seconds. In an hour, 1.2 MiB.
const READ: Budget = Budget::new(1024 * 1024, 64);

/// The same for the lines that say how often. One violation that goes on for ever needs
/// [`UPDATE`] bytes a second; three are told each second, more take turns. In an hour, 4 MiB.
const UPDATES: Budget = Budget::new(64 * 1024, 1024);

/// What a line about a known violation has, roughly.
const UPDATE: u64 = 330;

/// How soon after a line about a violation there may be the next.
const PAUSE: Duration = Duration::from_secs(1);

/// The number that a record gets in its stream, once it is written.
#[derive(Debug, Clone, Default)]
pub struct Number(Arc<AtomicU64>);

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

/// Bytes that may be written at once, and how many more each second.
#[derive(Debug, Clone, Copy)]
struct Budget {
    most: u64,
    each_second: u64,
    left: u64,
    at: Duration,
}

impl Budget {
    const fn new(most: u64, each_second: u64) -> Self {
        Self { most, each_second, left: most, at: Duration::ZERO }
    }

    fn refill(&mut self, now: Duration) {
        // Whole seconds, so that nothing is lost to rounding.
        let seconds = now.saturating_sub(self.at).as_secs();
        self.at += Duration::from_secs(seconds);
        self.left =
            self.most.min(self.left.saturating_add(seconds.saturating_mul(self.each_second)));
    }

    const fn take(&mut self, bytes: u64) -> bool {
        if bytes > self.left {
            return false;
        }
        self.left -= bytes;
        true
    }
}

/// One violation of a container, and how often it was seen.
#[derive(Debug)]
struct Fold {
    number: Number,
    count: u64,
    told: u64,
    /// The worst that it came to, and whether that is on record.
    worst: Worst,
    amended: bool,
    last: String,
    /// When the next line may be.
    due: Duration,
    /// For who is to go: when it was seen last.
    seen: u64,
}

/// What became of a violation, and what was therefore done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worst {
    pub(crate) outcome: Became,
    pub(crate) action: Action,
    pub(crate) rule: Option<String>,
}

impl Worst {
    fn of(record: &Record) -> Self {
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

/// An outcome that is not told yet, if there is one, and when it may be.
type Held = (Option<Box<Outcome>>, Duration);

/// The violations of one container.
#[derive(Debug)]
pub(crate) struct Folds {
    /// By two keyed hashes of what makes records equal: nobody outside can make two meet.
    keys: HashMap<(u64, u64), Fold>,
    hashers: (RandomState, RandomState),
    /// What actions came to that is not told yet, and when it may be.
    outcomes: BTreeMap<(Action, bool), Held>,
    news: Budget,
    read: Budget,
    updates: Budget,
    lost: BTreeMap<GapReason, u64>,
    lost_due: Duration,
    clock: u64,
}

impl Folds {
    pub(crate) fn new() -> Self {
        Self {
            keys: HashMap::new(),
            hashers: (RandomState::new(), RandomState::new()),
            news: NEWS,
            read: READ,
            updates: UPDATES,
            outcomes: BTreeMap::new(),
            lost: BTreeMap::new(),
            lost_due: Duration::ZERO,
            clock: 0,
        }
    }

    fn key(&self, record: &Record) -> (u64, u64) {
        let equal = Equal::of(record);
        (self.hashers.0.hash_one(&equal), self.hashers.1.hash_one(&equal))
    }

    /// As many uses as the record says it stands for. `now` is since some fixed time.
    pub(crate) fn see(&mut self, record: &Record, now: Duration) -> Told {
        let key = self.key(record);
        self.clock += 1;
        if let Some(fold) = self.keys.get_mut(&key) {
            fold.count += record.uses();
            fold.last.clone_from(record.last.as_ref().unwrap_or(&record.time));
            fold.seen = self.clock;
            if record.outcome > fold.worst.outcome {
                (fold.worst, fold.amended) = (Worst::of(record), true);
            }
            return Told::Counted(fold.number.clone());
        }
        let beyond = GapReason::beyond(record.notificate);
        let room = self.room();
        let budget = if beyond == GapReason::Reports { &mut self.read } else { &mut self.news };
        budget.refill(now);
        if !room || !budget.take(record.weight()) {
            self.lose(beyond, record.uses());
            return Told::Lost;
        }
        let number = Number::default();
        let fold = Fold {
            number: number.clone(),
            count: record.uses(),
            told: record.uses(),
            worst: Worst::of(record),
            amended: false,
            last: String::new(),
            due: now + PAUSE,
            seen: self.clock,
        };
        self.keys.insert(key, fold);
        Told::Anew(number)
    }

    /// A use that is on record as `before` turned out worse. `None`: nobody remembers that
    /// record, so that it needs one of its own.
    pub(crate) fn amend(&mut self, before: &Record, worse: &Record) -> Option<Number> {
        let key = self.key(before);
        let fold = self.keys.get_mut(&key)?;
        if worse.outcome > fold.worst.outcome {
            (fold.worst, fold.amended) = (Worst::of(worse), true);
            fold.last.clone_from(&worse.time);
        }
        Some(fold.number.clone())
    }

    /// What came of an action: to be told now, or with what comes of the next ones.
    pub(crate) fn outcome(&mut self, outcome: Outcome, now: Duration) -> Option<Outcome> {
        let key = (outcome.action, outcome.result == OutcomeResult::Done);
        let (waiting, due) = self.outcomes.entry(key).or_default();
        self.updates.refill(now);
        if waiting.is_none() && *due <= now && self.updates.take(UPDATE) {
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
        let found = self.keys.iter().find(|(_, fold)| Arc::ptr_eq(&fold.number.0, &number.0));
        if let Some(fold) = found.map(|(key, _)| *key).and_then(|key| self.keys.remove(&key)) {
            self.lose(GapReason::SpoolFull, fold.count.saturating_sub(uses));
        }
    }

    /// There was no room for a record that is of its own; its uses are lost, and told.
    pub(crate) fn unqueued(&mut self, record: &Record) {
        let key = self.key(record);
        self.keys.remove(&key);
        self.lose(GapReason::QueueFull, record.uses());
    }

    /// So many uses have no record.
    pub(crate) fn lose(&mut self, reason: GapReason, uses: u64) {
        if uses > 0 {
            *self.lost.entry(reason).or_default() += uses;
        }
    }

    /// Makes room for one more. Whose count is not told stays.
    fn room(&mut self) -> bool {
        if self.keys.len() < KEYS {
            return true;
        }
        let quiet = self.keys.iter().filter(|(_, fold)| !fold.has_news());
        let Some(oldest) = quiet.min_by_key(|(_, fold)| fold.seen).map(|(key, _)| *key) else {
            return false;
        };
        self.keys.remove(&oldest);
        true
    }

    /// What is to be told now; with `last`, all that there is to tell.
    pub(crate) fn due(&mut self, now: Duration, last: bool) -> Vec<Due> {
        self.updates.refill(now);
        let mut told = Vec::new();
        let mut waiting: Vec<_> = self
            .keys
            .values_mut()
            .filter(|fold| fold.has_news() && (last || fold.amended || fold.due <= now))
            .collect();
        // Who waits longest goes first, so that nobody is left out for ever.
        waiting.sort_unstable_by_key(|fold| fold.due);
        for fold in waiting {
            if !self.updates.take(UPDATE) && !last {
                break;
            }
            let fresh = fold.count - fold.told;
            (fold.told, fold.amended, fold.due) = (fold.count, false, now + PAUSE);
            told.push(Due::Update {
                of: fold.number.clone(),
                count: fold.count,
                fresh,
                last: fold.last.clone(),
                worst: fold.worst.clone(),
            });
        }
        for (waiting, due) in self.outcomes.values_mut().filter(|(_, due)| last || *due <= now) {
            if waiting.is_some() && (self.updates.take(UPDATE) || last) {
                told.extend(waiting.take().map(Due::Outcome));
                *due = now + PAUSE;
            }
        }
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
            || self.keys.values().any(Fold::has_news)
    }
}

impl Fold {
    const fn has_news(&self) -> bool {
        self.amended || self.count > self.told
    }
}

/// What makes two records of a container equal: what was used, how, what was refused of it,
/// and by which rule. Who used it, who saw it and when are of the first and the last.
#[derive(Hash)]
struct Equal<'a>(
    (ViolationKind, lacre_types::Event, lacre_types::Mode, bool),
    (&'a Option<String>, &'a Option<String>, &'a str),
    (Option<u64>, &'a Option<String>, Option<String>),
    (Action, &'a Option<String>),
);

impl<'a> Equal<'a> {
    fn of(record: &'a Record) -> Self {
        // A file that grows while it is read again and again is one file.
        let size = record.size.filter(|_| record.notificate != ViolationKind::Report);
        Self(
            (record.notificate, record.event, record.mode, record.outcome == Became::Denied),
            (&record.path, &record.path_bytes, &record.line),
            (size, &record.unread, record.expected.map(|digest| digest.to_string())),
            (record.action, &record.rule),
        )
    }
}

#[cfg(test)]
#[path = "folding/tests.rs"]
pub(crate) mod tests;
