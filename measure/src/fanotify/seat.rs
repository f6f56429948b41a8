//! One container's place at the group that asks.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lacre_sys::fanotify::{Mask, Permission, Response};
use lacre_types::{CanonicalPath, Content, Event, Measurement, Mode, Source};

use super::event_file::{Facts, names};
use super::failure::{Counters, Failure, Follows, Ruling};
use super::opener::Member;
use crate::{Answer, Judge, Loss, Outcome};

/// Questions that wait for one container's responder, each a descriptor and a process of the
/// container that stands still. It looks at one in some 20 µs: 1,024 are 20 ms of it.
const QUESTIONS: usize = 1024;

/// One container's place at the group that asks.
pub(super) struct Seat {
    /// Whose processes are its own.
    pub(super) member: Member,
    /// That its root is on.
    pub(super) device: u64,
    /// Whole file systems that it has marked: others may have too.
    pub(super) marked: Mutex<BTreeSet<(u32, u32)>>,
    /// `None` once its responder has gone.
    pub(super) questions: Mutex<Option<VecDeque<Permission>>>,
    /// What its responder polls.
    pub(super) wake: Arc<OwnedFd>,
    pub(super) counters: Counters,
    pub(super) judge: Arc<dyn Judge>,
    /// It holds back: a policy may come to be for enforce while the container runs.
    pub(super) enforce: AtomicBool,
    /// Its opens are asked about by marks of mounts, and not of inodes alone.
    pub(super) asks_opens: AtomicBool,
    /// It is to ask about opens, too: another container's sake.
    pub(super) to_widen: AtomicBool,
    turns: Turns,
}

/// How far a responder has come.
#[derive(Debug, Default)]
struct Turns {
    /// How often it has done all that there was to do.
    done: AtomicU64,
    /// It has something to do, and not done it yet.
    busy: AtomicBool,
    /// What `done` was when somebody looked.
    looked: AtomicU64,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Seat {
    pub(super) fn new(
        (member, device): (Member, u64),
        wake: Arc<OwnedFd>,
        judge: Arc<dyn Judge>,
        mode: Mode,
    ) -> Self {
        Self {
            member,
            device,
            marked: Mutex::default(),
            questions: Mutex::new(Some(VecDeque::new())),
            wake,
            counters: Counters::default(),
            judge,
            enforce: AtomicBool::new(mode == Mode::Enforce),
            asks_opens: AtomicBool::new(false),
            to_widen: AtomicBool::new(false),
            turns: Turns::default(),
        }
    }

    /// Has its responder look at what there is.
    pub(super) fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }

    /// Its responder has something to do.
    pub(super) fn turn_begins(&self) {
        self.turns.busy.store(true, Ordering::Relaxed);
    }

    /// Its responder waits for something to do.
    pub(super) fn turn_ends(&self) {
        self.turns.done.fetch_add(1, Ordering::Relaxed);
        self.turns.busy.store(false, Ordering::Relaxed);
    }

    /// Whether its responder has done nothing since the last look; `asked`: though the
    /// kernel asks.
    pub(super) fn stands_still(&self, asked: bool) -> bool {
        let done = self.turns.done.load(Ordering::Relaxed);
        let still = self.turns.looked.swap(done, Ordering::Relaxed) == done;
        let waits = || lock(&self.questions).as_ref().is_some_and(|queue| !queue.is_empty());
        still && (asked || self.turns.busy.load(Ordering::Relaxed) || waits())
    }

    pub(super) fn mode(&self) -> Mode {
        if self.enforce.load(Ordering::Acquire) { Mode::Enforce } else { Mode::Audit }
    }

    /// It has marked that file system as a whole.
    pub(super) fn marks(&self, dev: (u32, u32)) {
        lock(&self.marked).insert(dev);
    }

    /// What others have handed over since the last call.
    pub(super) fn questions(&self) -> VecDeque<Permission> {
        lock(&self.questions).as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Counts it, and reports it where nobody can be refused any more.
    pub(super) fn note(&self, failure: Failure) {
        self.counters.count(failure);
        if failure.follows() == Follows::Lost {
            let loss = match failure {
                Failure::Overflow => Loss::Overflow(None),
                Failure::Unopened => Loss::Overflow(Some(1)),
                other => Loss::Ended(other.reason().to_owned()),
            };
            self.judge.lost(Source::Fanotify, loss);
        }
    }

    /// Answers a question that nobody has the time to look at, and says so.
    pub(super) fn refuse(&self, ask: &Permission) {
        let ruling = Ruling::of_failure(self.mode(), Failure::QueueFull);
        let _ = ask.answer(raw(ruling.answer));
        let names = Facts::of(ask.file()).map(|facts| names(ask.file(), &facts, None));
        let path = names.ok().and_then(|names| names.into_iter().next());
        let asked = (ask.mask(), ask.pid(), path);
        self.tell(asked, Failure::QueueFull, ruling.outcome());
    }

    /// Says what the kernel has denied, in whatever mode, since it could not open it.
    pub(super) fn unopened(&self, mask: Mask, pid: u32) {
        self.tell((mask, pid, None), Failure::Unopened, Outcome::Denied);
    }

    fn tell(
        &self,
        (mask, pid, path): (Mask, u32, Option<CanonicalPath>),
        failure: Failure,
        outcome: Outcome,
    ) {
        self.counters.count(failure);
        let measurement = Measurement {
            source: Source::Fanotify,
            event: if mask.has(Mask::EXEC) { Event::Exec } else { Event::Open },
            path,
            content: Content::Unread(failure.reason().to_owned()),
            process: super::requester::process(pid),
            time: SystemTime::now(),
        };
        self.judge.seen(measurement, outcome);
    }

    /// Gives a question back that there is no room for (`true`), or nobody to ask.
    pub(super) fn hand(&self, ask: Permission) -> Result<(), (Permission, bool)> {
        let mut questions = lock(&self.questions);
        match questions.as_mut() {
            None => return Err((ask, false)),
            Some(queue) if queue.len() >= QUESTIONS => return Err((ask, true)),
            Some(queue) => queue.push_back(ask),
        }
        drop(questions);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As the kernel takes it.
pub(super) const fn raw(answer: Answer) -> Response {
    match answer {
        Answer::Allow => Response::Allow,
        Answer::Deny => Response::Deny,
    }
}
