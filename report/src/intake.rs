//! From whoever reports to the disk's thread: memory with a bound, and nobody who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::fair_shares::{Owner, Shares};
use crate::files::Files;
use crate::folding::{Due, Folds, Number, Told};
use crate::gap::{Gap, GapReason};
use crate::outcome::Outcome;
use crate::queued_line::Line;
use crate::record::Record;
use crate::update::Update;

/// Records that wait for the disk, in bytes: one container alone has half of it, some 3,000
/// of its records. A disk that stands still costs no more than this; what finds no room is
/// counted, and told when the disk moves again.
const ROOM: u64 = 4 * 1024 * 1024;

/// What the disk's thread takes at a time: so much is no longer counted as line.
const AT_ONCE: usize = 256;

/// Questions to the disk's thread: one for each policy that comes, one for each batch that
/// goes. More are refused, as are policies of more containers than a reporter has.
const JOBS: usize = 2048;

/// How soon what is still to be told is looked at again.
const LOOK: Duration = Duration::from_millis(250);

/// Something for the disk's thread to do.
pub(crate) type Job = Box<dyn FnOnce(&mut Files) + Send>;

/// The way to the disk's thread. Whoever hands something in never waits for it.
pub(crate) struct Intake {
    inside: Mutex<Inside>,
    changed: Condvar,
    began: Instant,
    node: String,
}

struct Inside {
    folds: BTreeMap<Arc<str>, Folds>,
    queue: VecDeque<Line>,
    room: Shares,
    jobs: VecDeque<Job>,
    /// When to look whether something is due.
    look: Option<Instant>,
    flush: bool,
    closed: bool,
}

/// What there is to do.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) lines: Vec<Line>,
    pub(crate) jobs: Vec<Job>,
    /// Nothing more will come.
    pub(crate) over: bool,
}

impl Intake {
    pub(crate) fn new(node: &str) -> Self {
        let inside = Inside {
            folds: BTreeMap::new(),
            queue: VecDeque::new(),
            room: Shares::new(ROOM),
            jobs: VecDeque::new(),
            look: None,
            flush: false,
            closed: false,
        };
        Self {
            inside: Mutex::new(inside),
            changed: Condvar::new(),
            began: Instant::now(),
            node: node.to_owned(),
        }
    }

    /// A violation: a record of its own, or one more of a record that there is.
    pub(crate) fn record(&self, record: Record) -> Told {
        let entry = Entry::from(record);
        let (Some(owner), Entry::Violation(record)) = (entry.owner(), &entry) else {
            return Told::Lost;
        };
        let mut inside = self.lock();
        let folds = inside.folds.entry(Arc::clone(&owner)).or_insert_with(Folds::new);
        let told = folds.see(record, self.began.elapsed());
        if let Told::Anew(number) = &told {
            let bytes = record.weight();
            if !inside.room.fits(&Some(Arc::clone(&owner)), bytes, 0) {
                if let Some(folds) = inside.folds.get_mut(&owner) {
                    folds.unqueued(record);
                }
                self.look_by(&mut inside, Instant::now() + LOOK);
                return Told::Lost;
            }
            let uses = record.uses();
            let number = Some(number.clone());
            self.enqueue(inside, Line { owner: Some(owner), entry, number, of: None, uses });
        } else {
            self.look_by(&mut inside, Instant::now() + LOOK);
        }
        told
    }

    /// A use that is on record as `before` turned out worse.
    pub(crate) fn amend(&self, before: &Record, worse: Record) -> Told {
        let entry = Entry::from(worse);
        let Entry::Violation(record) = &entry else { return Told::Lost };
        let mut inside = self.lock();
        let folds = entry.owner().and_then(|owner| inside.folds.get_mut(&owner));
        let number = folds.and_then(|folds| folds.amend(before, record));
        let Some(number) = number else {
            drop(inside);
            let Entry::Violation(mut worse) = entry else { return Told::Lost };
            // The use is counted already; the record is there for how it ended.
            worse.count = Some(0);
            return self.record(*worse);
        };
        self.look_by(&mut inside, Instant::now());
        Told::Counted(number)
    }

    /// What came of an action about the violation of that number.
    pub(crate) fn outcome(&self, outcome: Outcome, of: Option<Number>) {
        let owner = Entry::from(outcome.clone()).owner();
        let mut inside = self.lock();
        let folds = owner.clone().map(|owner| inside.folds.entry(owner).or_insert_with(Folds::new));
        let mut outcome = outcome;
        outcome.of = outcome.of.or_else(|| of.as_ref().and_then(Number::get));
        let now = self.began.elapsed();
        let Some(outcome) = folds.and_then(|folds| folds.outcome(outcome, now)) else {
            return self.look_by(&mut inside, Instant::now() + LOOK);
        };
        let entry = Entry::from(outcome);
        self.enqueue(inside, Line { owner, entry, number: None, of, uses: 0 });
    }

    /// So many uses have no record.
    pub(crate) fn lost(&self, namespace: &str, container: &str, reason: GapReason, uses: u64) {
        let mut inside = self.lock();
        let owner = format!("{namespace}/{container}").into();
        inside.folds.entry(owner).or_insert_with(Folds::new).lose(reason, uses);
        self.look_by(&mut inside, Instant::now() + LOOK);
    }

    /// A line of the node's own.
    pub(crate) fn line(&self, entry: Entry) -> Number {
        let (number, inside) = (Number::default(), self.lock());
        let owner = entry.owner();
        if inside.room.fits(&owner, entry.weight(), 0) {
            let number = Some(number.clone());
            self.enqueue(inside, Line { owner, entry, number, of: None, uses: 0 });
        }
        number
    }

    fn enqueue(&self, mut inside: MutexGuard<'_, Inside>, line: Line) {
        inside.room.take(&line.owner, line.entry.weight());
        inside.queue.push_back(line);
        drop(inside);
        self.changed.notify_one();
    }

    fn look_by(&self, inside: &mut Inside, at: Instant) {
        if inside.look.is_none_or(|look| look > at) {
            inside.look = Some(at);
            self.changed.notify_one();
        }
    }

    /// The record of this number is not where it would be followed up.
    pub(crate) fn unwritten(&self, owner: &Owner, number: &Number, uses: u64) {
        let mut inside = self.lock();
        if let Some(folds) = owner.as_ref().and_then(|owner| inside.folds.get_mut(owner)) {
            folds.unwritten(number, uses);
        }
    }

    /// The container is gone: all of it is told, and then forgotten.
    pub(crate) fn end(&self, namespace: &str, container: &str) {
        let owner: Arc<str> = format!("{namespace}/{container}").into();
        let mut inside = self.lock();
        if let Some(mut folds) = inside.folds.remove(&owner) {
            let told = folds.due(self.began.elapsed(), true);
            // Beyond the bound, which is kept by what it counts: some for each of its records.
            for line in told.into_iter().map(|due| self.line_of(&owner, due)) {
                inside.room.take(&line.owner, line.entry.weight());
                inside.queue.push_back(line);
            }
        }
        drop(inside);
        self.changed.notify_one();
    }

    /// `false` when there are too many, or the thread has ended.
    pub(crate) fn job(&self, job: Job) -> bool {
        let mut inside = self.lock();
        let room = inside.jobs.len() < JOBS && !inside.closed;
        if room {
            inside.jobs.push_back(job);
            drop(inside);
            self.changed.notify_one();
        }
        room
    }

    /// Has all be told that there is to tell, without the usual pauses.
    pub(crate) fn flush(&self) {
        self.lock().flush = true;
        self.changed.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        let mut inside = self.lock();
        (inside.flush, inside.closed) = (true, true);
        drop(inside);
        self.changed.notify_one();
    }

    /// Waits for work, at most until then. While `held`, lines stay where they are.
    pub(crate) fn wait(&self, held: bool, until: Option<Instant>) -> Work {
        let mut inside = self.lock();
        loop {
            let now = Instant::now();
            let last = inside.flush;
            if !held && (last || inside.look.is_some_and(|look| look <= now)) {
                self.tell(&mut inside, last);
            }
            let lines = if held && !inside.closed { 0 } else { inside.queue.len().min(AT_ONCE) };
            if lines > 0 || !inside.jobs.is_empty() || inside.closed {
                let mut work = Work {
                    lines: inside.queue.drain(..lines).collect(),
                    jobs: inside.jobs.drain(..).collect(),
                    over: false,
                };
                // Who waits for what was handed in before it is answered after that.
                if !inside.queue.is_empty() && !held {
                    inside.jobs.extend(work.jobs.drain(..));
                }
                for line in &work.lines {
                    inside.room.give_back(&line.owner, line.entry.weight());
                }
                work.over = inside.closed && inside.queue.is_empty() && inside.jobs.is_empty();
                return work;
            }
            let at = [until, inside.look.filter(|_| !held)].into_iter().flatten().min();
            inside = match at {
                Some(at) if at <= now => return Work::default(),
                Some(at) => {
                    let waited = self.changed.wait_timeout(inside, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Puts what is due behind what waits.
    fn tell(&self, inside: &mut Inside, last: bool) {
        let now = self.began.elapsed();
        let mut told = Vec::new();
        for (owner, folds) in &mut inside.folds {
            told.extend(folds.due(now, last).into_iter().map(|due| self.line_of(owner, due)));
        }
        let more = inside.folds.values().any(Folds::has_news);
        (inside.look, inside.flush) = (more.then(|| Instant::now() + LOOK), false);
        for line in told {
            inside.room.take(&line.owner, line.entry.weight());
            inside.queue.push_back(line);
        }
    }

    fn line_of(&self, owner: &Arc<str>, due: Due) -> Line {
        let (namespace, container) = owner.split_once('/').unwrap_or(("", owner));
        let (entry, of, uses) = match due {
            Due::Update { of, count, fresh, last, worst } => {
                let mut update = Update::new(of.get(), count, &self.node);
                container.clone_into(&mut update.container_id);
                namespace.clone_into(&mut update.namespace);
                update.last = last;
                (update.outcome, update.action, update.rule) =
                    (worst.outcome, worst.action, worst.rule);
                (update.into(), Some(of), fresh)
            }
            Due::Outcome(outcome) => (Entry::Outcome(outcome), None, 0),
            Due::Lost(reason, uses) => {
                let owner = Some(Arc::clone(owner));
                (Gap::new(reason, Some(uses), &self.node).of(&owner).into(), None, uses)
            }
        };
        Line { owner: Some(Arc::clone(owner)), entry, number: None, of, uses }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
