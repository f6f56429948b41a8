//! Threads that do what others must not wait for.
//!
//! They are started when there is something to do, no more of them than there is, and end when
//! there has been nothing for a while: of a container that rests there is none.
//!
//! One that is held, as by a file whose server does not answer, can't be ended. Another is started
//! in its place, for what waits behind it; so many are at most. When all are held, what waits is
//! given up, and what comes is not taken.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The stack of each, in bytes. Nothing recurses; the largest buffers are on the heap.
const STACK: usize = 256 << 10;

/// How soon a thread is tried to be had again: 10 ms.
const AGAIN: Duration = Duration::from_millis(10);

/// What a pool may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// What its threads are called.
    pub(crate) name: &'static str,
    /// How many of them there may be.
    pub(crate) threads: usize,
    /// Their niceness; `None`: that of who has them start.
    pub(crate) nice: Option<i32>,
    /// How long one stays that has nothing to do.
    pub(crate) idle: Duration,
    /// Jobs that may wait.
    pub(crate) waiting: usize,
    /// Jobs that may wait behind all others.
    pub(crate) deferred: usize,
    /// Who is started in place of one that is held; `None`: nobody.
    pub(crate) spare: Option<Spare>,
}

/// Threads in place of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spare {
    /// How long one is at the same job before it counts as held.
    pub(crate) after: Duration,
    /// How many may be started so.
    pub(crate) threads: usize,
}

/// The threads, and what waits for them. Dropping it forgets what waits, and leaves a thread that
/// stands still in a job to end by itself.
pub(crate) struct ThreadPool<J>(Arc<Shared<J>>);

struct Shared<J> {
    terms: Terms,
    queue: Mutex<Queue<J>>,
    /// There is something to do, or nothing more to come.
    work: Condvar,
    /// A job is done.
    done: Condvar,
    ended: AtomicBool,
    perform: Box<Perform<J>>,
}

/// Does a job, and may be told meanwhile that nobody waits for it any more.
type Perform<J> = dyn Fn(J, &AtomicBool) + Send + Sync;

struct Queue<J> {
    waiting: VecDeque<J>,
    deferred: VecDeque<J>,
    threads: usize,
    idle: usize,
    /// When each that is at work began with what it does.
    at_work: BTreeMap<u64, Instant>,
    next: u64,
    /// Somebody looks out for who is held.
    watched: bool,
}

/// What there is of threads.
struct Threads {
    /// At the same job for too long.
    held: usize,
    /// One more may be started.
    room: bool,
    /// Nobody will come to what waits.
    none: bool,
    /// When the next will be held.
    next: Option<Duration>,
}

impl<J> Queue<J> {
    fn threads(&self, terms: &Terms) -> Threads {
        let (after, spare) = terms.spare.map_or((Duration::MAX, 0), |it| (it.after, it.threads));
        let left = |began: &Instant| after.saturating_sub(began.elapsed());
        let held = self.at_work.values().filter(|began| left(began).is_zero()).count();
        let most = terms.threads + held.min(spare);
        Threads {
            held,
            room: self.threads < most,
            none: terms.spare.is_some() && held >= terms.threads + spare,
            next: self.at_work.values().map(left).filter(|left| !left.is_zero()).min(),
        }
    }

    fn begins(&mut self) -> u64 {
        self.next += 1;
        self.at_work.insert(self.next, Instant::now());
        self.next
    }

    /// What nobody will come to.
    fn give_up(&mut self) -> VecDeque<J> {
        let mut left = std::mem::take(&mut self.waiting);
        left.append(&mut self.deferred);
        left
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.deferred.len()
    }

    fn next(&mut self) -> Option<J> {
        self.waiting.pop_front().or_else(|| self.deferred.pop_front())
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Queue<J>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J: Send + 'static> ThreadPool<J> {
    pub(crate) fn new(
        terms: Terms,
        perform: impl Fn(J, &AtomicBool) + Send + Sync + 'static,
    ) -> Self {
        let (waiting, deferred) = (VecDeque::new(), VecDeque::new());
        let (at_work, watched) = (BTreeMap::new(), false);
        let queue = Queue { waiting, deferred, threads: 0, idle: 0, at_work, next: 0, watched };
        Self(Arc::new(Shared {
            terms,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            done: Condvar::new(),
            ended: AtomicBool::new(false),
            perform: Box::new(perform),
        }))
    }

    /// Has a job done, after those that came before; gives it back where too many wait, or nobody
    /// can be had to do it.
    pub(crate) fn submit(&self, job: J) -> Result<(), J> {
        let queue = self.0.lock();
        if queue.waiting.len() >= self.0.terms.waiting {
            return Err(job);
        }
        self.put(queue, job, |queue| &mut queue.waiting)
    }

    /// The same when nothing else waits.
    pub(crate) fn defer(&self, job: J) -> Result<(), J> {
        let queue = self.0.lock();
        if queue.deferred.len() >= self.0.terms.deferred {
            return Err(job);
        }
        self.put(queue, job, |queue| &mut queue.deferred)
    }

    /// The same as [`Self::submit`], but where too many wait the oldest of them is forgotten.
    pub(crate) fn submit_last(&self, job: J) -> Result<(), J> {
        let mut queue = self.0.lock();
        if queue.waiting.len() >= self.0.terms.waiting {
            queue.waiting.pop_front();
        }
        self.put(queue, job, |queue| &mut queue.waiting)
    }

    fn put(
        &self,
        mut queue: MutexGuard<'_, Queue<J>>,
        job: J,
        lane: impl FnOnce(&mut Queue<J>) -> &mut VecDeque<J>,
    ) -> Result<(), J> {
        let Threads { room, none, .. } = queue.threads(&self.0.terms);
        if none {
            return Err(job);
        }
        if queue.idle <= queue.len() {
            if room {
                if !start(&self.0, &mut queue) && queue.threads == 0 {
                    return Err(job);
                }
            } else if self.0.terms.spare.is_some() && !queue.watched {
                let shared = Arc::clone(&self.0);
                queue.watched = thread(&self.0.terms).spawn(move || watch(&shared)).is_ok();
            }
        }
        lane(&mut queue).push_back(job);
        drop(queue);
        self.0.work.notify_one();
        Ok(())
    }
}

impl<J> ThreadPool<J> {
    /// Waits until all is done, so long at most; what is not done then is hurried: it is told
    /// that nobody waits for it. What waits is done at once, on this thread.
    pub(crate) fn finish(&self, grace: Duration) {
        for job in self.end(grace) {
            (self.0.perform)(job, &self.0.ended);
        }
    }

    /// Gives what was not begun within that time.
    fn end(&self, grace: Duration) -> VecDeque<J> {
        let until = Instant::now() + grace;
        let mut queue = self.0.lock();
        while !queue.at_work.is_empty() || queue.len() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.0.done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.0.ended.store(true, Ordering::Relaxed);
        let left = queue.give_up();
        drop(queue);
        self.0.work.notify_all();
        self.0.done.notify_all();
        left
    }
}

impl<J> Drop for ThreadPool<J> {
    fn drop(&mut self) {
        drop(self.end(Duration::ZERO));
    }
}

fn thread(terms: &Terms) -> std::thread::Builder {
    std::thread::Builder::new().name(terms.name.to_owned()).stack_size(STACK)
}

/// Whether one more is there.
fn start<J: Send + 'static>(shared: &Arc<Shared<J>>, queue: &mut MutexGuard<'_, Queue<J>>) -> bool {
    let its = Arc::clone(shared);
    let started = thread(&shared.terms).spawn(move || run(&its)).is_ok();
    queue.threads += usize::from(started);
    started
}

/// Looks out for who is held, for as long as something waits.
fn watch<J: Send + 'static>(shared: &Arc<Shared<J>>) {
    let mut queue = shared.lock();
    while queue.len() > 0 && !shared.ended.load(Ordering::Relaxed) {
        let Threads { room, none, next, held } = queue.threads(&shared.terms);
        if none {
            let left = queue.give_up();
            queue.watched = false;
            let own = queue.begins();
            queue.threads += 1;
            drop(queue);
            let nobody_waits = AtomicBool::new(true);
            for job in left {
                let _ = catch_unwind(AssertUnwindSafe(|| (shared.perform)(job, &nobody_waits)));
            }
            queue = shared.lock();
            queue.threads -= 1;
            queue.at_work.remove(&own);
            shared.done.notify_all();
            return;
        }
        if room && queue.idle == 0 {
            start(shared, &mut queue);
        }
        // Whom the kernel gives no thread tries again.
        let wait = next.filter(|_| held == 0 || !room).unwrap_or(AGAIN).max(AGAIN);
        queue = shared.done.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
    }
    queue.watched = false;
}

fn run<J>(shared: &Shared<J>) {
    if let Some(nice) = shared.terms.nice {
        // Without the right to it, it is as it was.
        let _ = rustix::process::setpriority_process(None, nice);
    }
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.next() {
            let own = queue.begins();
            drop(queue);
            // What breaks down takes its own job with it, and no other.
            let _ = catch_unwind(AssertUnwindSafe(|| (shared.perform)(job, &shared.ended)));
            queue = shared.lock();
            queue.at_work.remove(&own);
            shared.done.notify_all();
            // In whose place another was started.
            let most = shared.terms.threads + queue.threads(&shared.terms).held;
            if queue.threads > most {
                break;
            }
            continue;
        }
        if shared.ended.load(Ordering::Relaxed) {
            break;
        }
        queue.idle += 1;
        let (woken, timed) = shared
            .work
            .wait_timeout(queue, shared.terms.idle)
            .unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        queue.idle -= 1;
        if timed.timed_out() && queue.len() == 0 {
            break;
        }
    }
    queue.threads -= 1;
}

#[cfg(test)]
mod tests;
