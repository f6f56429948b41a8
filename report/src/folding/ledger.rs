//! What of one kind was seen, and how often; with room of its own, which nothing of another
//! kind takes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::equal::Equal;
use super::told::{Due, Number, Told, Worst};
use crate::record::Record;

/// How many different ones of a container are counted at a time: some 150 KiB. A new one takes
/// the place of the one that was seen last the longest ago; while there is none whose count is
/// told, it is counted with the others that have no record (`flood`, `reports`).
pub(super) const KEYS: usize = 1024;

/// What a line about a known one has, roughly, in bytes.
pub(super) const UPDATE: u64 = 330;

/// How soon after a line about one there may be the next.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// One that was seen, and how often.
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

#[derive(Debug)]
pub(super) struct Ledger {
    /// By two keyed hashes of what makes records equal: nobody outside can make two meet.
    keys: HashMap<(u64, u64), Fold>,
    hashers: (RandomState, RandomState),
    news: Budget,
    updates: Budget,
    clock: u64,
}

impl Ledger {
    pub(super) fn new(news: Budget, updates: Budget) -> Self {
        let hashers = (RandomState::new(), RandomState::new());
        Self { keys: HashMap::new(), hashers, news, updates, clock: 0 }
    }

    fn key(&self, record: &Record) -> (u64, u64) {
        let equal = Equal::of(record);
        (self.hashers.0.hash_one(&equal), self.hashers.1.hash_one(&equal))
    }

    pub(super) fn see(&mut self, record: &Record, now: Duration) -> Told {
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
        // Nobody goes for what has no record in the end: he would be told anew.
        self.news.refill(now);
        if !self.news.has(record.weight()) || !self.room() || !self.news.take(record.weight()) {
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

    pub(super) fn amend(&mut self, before: &Record, worse: &Record) -> Option<Number> {
        let key = self.key(before);
        let fold = self.keys.get_mut(&key)?;
        if worse.outcome > fold.worst.outcome {
            (fold.worst, fold.amended) = (Worst::of(worse), true);
            fold.last.clone_from(&worse.time);
        }
        Some(fold.number.clone())
    }

    /// Forgets the one of that number, and tells how often it was seen.
    pub(super) fn forget(&mut self, number: &Number) -> Option<u64> {
        let found = self.keys.iter().find(|(_, fold)| Arc::ptr_eq(&fold.number.0, &number.0));
        let key = found.map(|(key, _)| *key)?;
        self.keys.remove(&key).map(|fold| fold.count)
    }

    /// Forgets the one that this record is of.
    pub(super) fn forget_record(&mut self, record: &Record) {
        let key = self.key(record);
        self.keys.remove(&key);
    }

    /// Whether there may be one more line that is no record of its own.
    pub(super) fn take_line(&mut self, now: Duration) -> bool {
        self.updates.refill(now);
        self.updates.take(UPDATE)
    }

    /// What is to be told now; with `last`, all that there is to tell.
    pub(super) fn due(&mut self, now: Duration, last: bool) -> Vec<Due> {
        self.updates.refill(now);
        let mut waiting: Vec<_> = self
            .keys
            .values_mut()
            .filter(|fold| fold.has_news() && (last || fold.amended || fold.due <= now))
            .collect();
        // Who waits longest goes first, so that nobody is left out for ever.
        waiting.sort_unstable_by_key(|fold| fold.due);
        let mut told = Vec::new();
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
        told
    }

    pub(super) fn has_news(&self) -> bool {
        self.keys.values().any(Fold::has_news)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Fold {
    const fn has_news(&self) -> bool {
        self.amended || self.count > self.told
    }
}
