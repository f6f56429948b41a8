//! Violations on their way from the sources to [`super::responder`]: handed over without
//! waiting, equal ones folded, one use that several sources see told once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use lacre_measure::Outcome;
use lacre_types::{
    Action, CanonicalPath, Content, Event, Measurement, Source, Violation, ViolationKind,
};
use tokio::sync::Notify;

/// Two sources see one use within moments of each other; what comes later is another use.
const SAME_USE: Duration = Duration::from_secs(2);

/// How many processes' uses are remembered to tell that, for [`SAME_USE`]. Of more, the oldest
/// half is forgotten, and a use of theirs that is seen again then counts twice.
const REMEMBERED: usize = 4096;

/// Different violations that wait for the responder, which takes all that wait whenever it
/// runs: within a millisecond or so, thirty times what a container can cause in that. Of more,
/// the worst action is still taken, and the number told.
const WAITING: usize = 512;

/// How many of them may be files that were read, so that there is room for violations whatever
/// is read.
const READ: usize = WAITING / 2;

/// What several sightings of one violation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// As it was seen first.
    pub(super) violation: Violation,
    pub(super) outcome: Outcome,
    /// How many uses these are; 0 where another source has told of the use, and this one says
    /// that it came to something worse.
    pub(super) uses: u64,
    /// When it was seen last.
    pub(super) last: SystemTime,
    /// What was told of that use before.
    pub(super) before: Option<(Arc<Violation>, Outcome)>,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order in which they were seen first.
    pub(super) seen: Vec<Seen>,
    /// More different ones than have room: one for each action that they deserve.
    pub(super) beyond: Vec<Seen>,
}

/// The violations of one container. Whoever hands one in holds a lock for a moment, and waits
/// for nobody: neither for who answers them, nor for a disk.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    core: Mutex<Core>,
    news: Notify,
}

/// The sources' end: when the last one is dropped, nothing more will come.
#[derive(Debug, Clone)]
pub(super) struct Teller(Arc<Open>);

#[derive(Debug)]
struct Open(Arc<Sightings>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.core().over = true;
        self.0.news.notify_one();
    }
}

/// The two ends.
pub(super) fn sightings() -> (Teller, Arc<Sightings>) {
    let sightings = Arc::new(Sightings::default());
    (Teller(Arc::new(Open(Arc::clone(&sightings)))), sightings)
}

impl Teller {
    /// Hands a violation over; `act` is what it deserves, asked only when there are too many.
    pub(super) fn tell(
        &self,
        violation: Violation,
        outcome: Outcome,
        act: impl FnOnce(&Violation) -> Action,
    ) {
        let sightings = &self.0.0;
        sightings.core().see(violation, outcome, act);
        sightings.news.notify_one();
    }
}

impl Teller {
    /// How many uses were seen so far, by kind; without memory where that `is_let_be`.
    pub(super) fn counts(&self, is_let_be: bool) -> BTreeMap<ViolationKind, u64> {
        let mut all = BTreeMap::new();
        for ((kind, is_memory), uses) in &self.0.0.core().counts {
            if !(*is_memory && is_let_be) && *uses > 0 {
                *all.entry(*kind).or_default() += uses;
            }
        }
        all
    }
}

impl Sightings {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits, as soon as there is something; `None` when nothing more will come.
    pub(super) async fn next(&self) -> Option<Batch> {
        loop {
            {
                let mut core = self.core();
                if let Some(batch) = core.take() {
                    return Some(batch);
                }
                if core.over {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }

    /// All that waits now.
    #[cfg(test)]
    pub(super) fn take(&self) -> Batch {
        self.core().take().unwrap_or_default()
    }
}

/// What is done with a sighting, and no I/O, no clock, no lock.
#[derive(Debug, Default)]
struct Core {
    waiting: Vec<Seen>,
    places: HashMap<Equal, usize>,
    beyond: Vec<(Action, Seen)>,
    uses: HashMap<Use, Uses>,
    /// How many uses there were, of memory apart.
    counts: BTreeMap<(ViolationKind, bool), u64>,
    over: bool,
}

/// Violations that are one but for who, when and through which source.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Equal {
    kind: ViolationKind,
    event: Event,
    path: Option<CanonicalPath>,
    content: Option<String>,
    outcome: Rank,
}

/// A process and what it used. What was refused and what was not are never one use, but of a
/// script, for which one source ends the interpreter while another refuses it the open; nor are
/// what audit let pass and what came of the same once the mode had tightened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Use {
    pid: u32,
    kind: ViolationKind,
    path: Option<CanonicalPath>,
    came: Came,
}

/// What outcomes may be of one use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Came {
    Watched,
    Denied,
    /// It ran, as far as one source knows; another may have killed for it. A script's interpreter
    /// did, whatever it was refused.
    Begun,
}

/// How often each source saw it: there were as many uses as the most that any of them saw.
#[derive(Debug)]
struct Uses {
    seen: Vec<Watcher>,
    uses: u64,
    time: SystemTime,
    first: Arc<Violation>,
    outcome: Outcome,
}

/// What one source saw of it. A source sees a use once at each of its steps: `exec-trace` tells
/// of a program that is executed, and of the file behind its first page.
#[derive(Debug)]
struct Watcher {
    source: Source,
    uses: u64,
    /// What the newest of them held, and its steps so far.
    content: Content,
    steps: Vec<Event>,
}

impl Watcher {
    fn new(first: &Measurement) -> Self {
        Self {
            source: first.source,
            uses: 1,
            content: first.content.clone(),
            steps: vec![first.event],
        }
    }

    /// Another step of the newest use, or the first of another: other bytes are another use, and
    /// bytes that nobody read can't be told from others.
    fn see(&mut self, next: &Measurement) -> u64 {
        let same = matches!(next.content, Content::Digest(_)) && self.content == next.content;
        if same && !self.steps.contains(&next.event) {
            self.steps.push(next.event);
            return self.uses;
        }
        *self = Self { uses: self.uses + 1, ..Self::new(next) };
        self.uses
    }
}

/// An outcome, from the mildest to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rank {
    Denied,
    Killed,
    Ended,
    Watched,
    Ran,
}

const fn rank(outcome: Outcome) -> Rank {
    match outcome {
        Outcome::Denied => Rank::Denied,
        Outcome::Killed => Rank::Killed,
        Outcome::Ended => Rank::Ended,
        Outcome::Watched => Rank::Watched,
        Outcome::Ran => Rank::Ran,
    }
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

impl Core {
    fn see(
        &mut self,
        violation: Violation,
        outcome: Outcome,
        act: impl FnOnce(&Violation) -> Action,
    ) {
        let (uses, before) = match self.use_of(&violation, outcome) {
            Sighting::New => (1, None),
            Sighting::Known => return,
            Sighting::Worse(violation, told) => (0, Some((violation, told))),
        };
        let is_memory = matches!(violation.measurement.content, Content::Memory(_));
        *self.counts.entry((violation.kind, is_memory)).or_default() += uses;
        let last = violation.measurement.time;
        let seen = Seen { violation, outcome, uses, last, before };
        if seen.before.is_some() {
            // Rare, and each one of its own.
            return self.put(None, seen, act);
        }
        let key = Equal {
            kind: seen.violation.kind,
            event: seen.violation.measurement.event,
            path: seen.violation.measurement.path.clone(),
            content: match &seen.violation.measurement.content {
                Content::Digest(digest) => Some(digest.to_string()),
                Content::Size(size) => Some(size.to_string()),
                Content::Unread(why) => Some(why.clone()),
                Content::Memory(memory) => Some(memory.to_string()),
                Content::Fileless => None,
            },
            outcome: rank(outcome),
        };
        match self.places.get(&key) {
            Some(place) => {
                if let Some(waiting) = self.waiting.get_mut(*place) {
                    waiting.uses += uses;
                    waiting.last = waiting.last.max(last);
                }
            }
            None => self.put(Some(key), seen, act),
        }
    }

    fn put(&mut self, key: Option<Equal>, seen: Seen, act: impl FnOnce(&Violation) -> Action) {
        let room = match seen.violation.kind {
            ViolationKind::Report => READ,
            _ => WAITING,
        };
        if self.waiting.len() < room {
            self.places.extend(key.map(|key| (key, self.waiting.len())));
            self.waiting.push(seen);
            return;
        }
        let action = act(&seen.violation);
        let same =
            |(other, of): &&mut (Action, Seen)| *other == action && of.outcome == seen.outcome;
        match self.beyond.iter_mut().find(same) {
            Some((_, of)) => {
                of.uses += seen.uses;
                of.last = of.last.max(seen.last);
            }
            // One for each action and outcome: two dozen at most.
            None => self.beyond.push((action, seen)),
        }
    }

    fn use_of(&mut self, violation: &Violation, outcome: Outcome) -> Sighting {
        let measurement = &violation.measurement;
        // Who is not named can't be told from others.
        if measurement.process.pid == 0 {
            return Sighting::New;
        }
        let (time, source) = (measurement.time, measurement.source);
        let key = Use {
            pid: measurement.process.pid,
            kind: violation.kind,
            path: measurement.path.clone(),
            came: match (measurement.event, outcome) {
                (_, Outcome::Watched) => Came::Watched,
                (Event::Script, Outcome::Denied) => Came::Begun,
                (_, Outcome::Denied) => Came::Denied,
                (_, Outcome::Ran | Outcome::Killed | Outcome::Ended) => Came::Begun,
            },
        };
        let first = || Uses {
            seen: vec![Watcher::new(measurement)],
            uses: 1,
            time,
            first: Arc::new(violation.clone()),
            outcome,
        };
        if let Some(known) = self.uses.get_mut(&key) {
            if apart(time, known.time) >= SAME_USE {
                *known = first();
                return Sighting::New;
            }
            let count = match known.seen.iter_mut().find(|of| of.source == source) {
                Some(watcher) => watcher.see(measurement),
                None => {
                    known.seen.push(Watcher::new(measurement));
                    1
                }
            };
            if count > known.uses {
                (known.uses, known.time, known.outcome) = (count, time, outcome);
                return Sighting::New;
            }
            if rank(outcome) > rank(known.outcome) {
                let told = std::mem::replace(&mut known.outcome, outcome);
                return Sighting::Worse(Arc::clone(&known.first), told);
            }
            return Sighting::Known;
        }
        if self.uses.len() >= REMEMBERED {
            self.forget(time);
        }
        self.uses.insert(key, first());
        Sighting::New
    }

    fn forget(&mut self, now: SystemTime) {
        self.uses.retain(|_, uses| apart(now, uses.time) < SAME_USE);
        if self.uses.len() >= REMEMBERED {
            let mut times: Vec<_> = self.uses.values().map(|uses| uses.time).collect();
            times.sort_unstable();
            let middle = times.get(REMEMBERED / 2).copied().unwrap_or(now);
            self.uses.retain(|_, uses| uses.time > middle);
        }
    }

    fn take(&mut self) -> Option<Batch> {
        if self.waiting.is_empty() && self.beyond.is_empty() {
            return None;
        }
        self.places.clear();
        Some(Batch {
            seen: std::mem::take(&mut self.waiting),
            beyond: std::mem::take(&mut self.beyond).into_iter().map(|(_, seen)| seen).collect(),
        })
    }
}

enum Sighting {
    /// A use that nobody has told of.
    New,
    /// One that another source has told of, and no worse.
    Known,
    /// One that another source has told of, as something milder.
    Worse(Arc<Violation>, Outcome),
}

#[cfg(test)]
#[path = "sightings/tests.rs"]
mod tests;
