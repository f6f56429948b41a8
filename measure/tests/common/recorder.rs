//! A judge that remembers what it was told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use lacre_measure::{Answer, Judge, LetPass, Loss, Outcome, Spared};
use lacre_policy::{Effective, PathTable, Policy, Subject};
use lacre_types::{
    Action, CanonicalPath, Content, Digest, Measurement, Mode, Source, ViolationKind,
};

use super::{Image, PATIENCE};

/// Remembers what it was told; allows what the baseline has.
pub struct Recorder {
    pub mode: Mode,
    pub baseline: Mutex<HashMap<CanonicalPath, Digest>>,
    pub spared: Mutex<Spared>,
    /// What it lets run all the same.
    pub policy: Mutex<Option<Effective>>,
    seen: Mutex<Seen>,
    more: Condvar,
    /// How many have come to tell it something, those who wait to included.
    came: AtomicUsize,
}

#[derive(Default)]
struct Seen {
    measurements: Vec<(Measurement, Outcome)>,
    losses: Vec<Loss>,
}

impl Recorder {
    pub fn new(mode: Mode, image: &Image) -> Arc<Self> {
        let baseline = image.allowed.iter().map(|(path, file)| (path.clone(), file.digest));
        Arc::new(Self {
            mode,
            baseline: Mutex::new(baseline.collect()),
            spared: Mutex::default(),
            policy: Mutex::default(),
            seen: Mutex::default(),
            more: Condvar::new(),
            came: AtomicUsize::new(0),
        })
    }

    pub fn all(&self) -> Vec<(Measurement, Outcome)> {
        self.seen.lock().unwrap().measurements.clone()
    }

    pub fn losses(&self) -> Vec<Loss> {
        self.seen.lock().unwrap().losses.clone()
    }

    /// Whoever tells it something waits, until what this gives is dropped.
    pub fn hold(&self) -> impl Sized + '_ {
        self.seen.lock().unwrap()
    }

    /// Waits until so many have come to tell it something, since it began.
    #[allow(dead_code, reason = "not every test holds who tells")]
    pub fn until_came(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.came.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < until, "{count} did not come");
            std::thread::yield_now();
        }
    }

    /// Sets what it lets run, by a policy file.
    pub fn follow(&self, policy: &str) {
        let (policy, _) = Policy::parse("p", policy.as_bytes()).unwrap();
        *self.policy.lock().unwrap() = Some(policy.effective(&Subject::default()));
    }

    fn skips(&self, path: &CanonicalPath) -> bool {
        let is_listed = self.baseline.lock().unwrap().contains_key(path);
        let kind =
            if is_listed { ViolationKind::InvalidHash } else { ViolationKind::EntryNotFound };
        let policy = self.policy.lock().unwrap();
        let action = policy.as_ref().map(|policy| policy.decide(kind, Some(path)).action);
        action == Some(Action::Skip)
    }

    /// The first measurement like this, which must come.
    pub fn wait(&self, like: impl Fn(&Measurement) -> bool) -> (Measurement, Outcome) {
        self.wait_after(0, like)
    }

    /// One that came after so many others.
    pub fn wait_after(
        &self,
        others: usize,
        like: impl Fn(&Measurement) -> bool,
    ) -> (Measurement, Outcome) {
        let limit = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            let mut later = seen.measurements.iter().skip(others);
            if let Some(found) = later.find(|(found, _)| like(found)) {
                return found.clone();
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not seen; only {:#?}", seen.measurements);
            seen = self.more.wait_timeout(seen, left).unwrap().0;
        }
    }

    pub fn wait_path(&self, path: &str) -> (Measurement, Outcome) {
        let path = CanonicalPath::new(path).unwrap();
        self.wait(|found| found.path.as_ref() == Some(&path))
    }

    pub fn wait_loss(&self) -> Loss {
        let limit = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(loss) = seen.losses.first() {
                return loss.clone();
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no loss was told");
            seen = self.more.wait_timeout(seen, left).unwrap().0;
        }
    }
}

impl Judge for Recorder {
    fn spared(&self) -> Spared {
        *self.spared.lock().unwrap()
    }

    fn let_pass(&self) -> LetPass {
        let policy = self.policy.lock().unwrap();
        let Some(policy) = policy.as_ref() else { return LetPass::default() };
        let PathTable { transitions, lets_run } =
            policy.path_table(ViolationKind::EntryNotFound).unwrap();
        let may = |kind, path| policy.decide(kind, Some(path)).action == Action::Skip;
        let baseline = self.baseline.lock().unwrap();
        let listed = baseline.keys().map(|path| (path, may(ViolationKind::InvalidHash, path)));
        let listed = listed.filter(|(path, it)| may(ViolationKind::EntryNotFound, path) != *it);
        let listed = listed.map(|(path, it)| (path.clone(), it)).collect();
        LetPass { transitions, lets_run, listed, is_too_much: false }
    }

    fn judge(&self, measurement: &Measurement) -> Answer {
        let spared = match (&measurement.content, &measurement.path) {
            (Content::Memory(_), _) => self.spared().memory,
            (Content::Fileless, _) => self.spared().programs,
            (_, Some(path)) => self.skips(path),
            _ => false,
        };
        if self.mode == Mode::Audit || spared || self.settled(measurement) {
            Answer::Allow
        } else {
            Answer::Deny
        }
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        let (Some(path), Some(digest)) = (&measurement.path, measurement.digest()) else {
            return false;
        };
        self.baseline.lock().unwrap().get(path) == Some(digest)
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        self.came.fetch_add(1, Ordering::Relaxed);
        self.seen.lock().unwrap().measurements.push((measurement, outcome));
        self.more.notify_all();
    }

    fn lost(&self, _: Source, loss: Loss) {
        self.seen.lock().unwrap().losses.push(loss);
        self.more.notify_all();
    }
}
