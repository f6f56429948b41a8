//! Threads that do what others must not wait for.
//!
//! They are started when there is something to do, no more of them than there is, and end when
//! there has been nothing for a while: of a container that rests there is none.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The stack of each, in bytes. Nothing recurses; the largest buffers are on the heap.
const STACK: usize = 256 << 10;

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
    at_work: usize,
}

impl<J> Queue<J> {
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
        let queue = Queue { waiting, deferred, threads: 0, idle: 0, at_work: 0 };
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
        let Terms { name, threads, .. } = self.0.terms;
        if queue.idle <= queue.len() && queue.threads < threads {
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
            if thread.spawn(move || run(&shared)).is_ok() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                return Err(job);
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
        while queue.at_work > 0 || queue.len() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.0.done.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.0.ended.store(true, Ordering::Relaxed);
        let mut left = std::mem::take(&mut queue.waiting);
        left.append(&mut queue.deferred);
        drop(queue);
        self.0.work.notify_all();
        left
    }
}

impl<J> Drop for ThreadPool<J> {
    fn drop(&mut self) {
        drop(self.end(Duration::ZERO));
    }
}

fn run<J>(shared: &Shared<J>) {
    if let Some(nice) = shared.terms.nice {
        // Without the right to it, it is as it was.
        let _ = rustix::process::setpriority_process(None, nice);
    }
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.next() {
            queue.at_work += 1;
            drop(queue);
            // What breaks down takes its own job with it, and no other.
            let _ = catch_unwind(AssertUnwindSafe(|| (shared.perform)(job, &shared.ended)));
            queue = shared.lock();
            queue.at_work -= 1;
            shared.done.notify_all();
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
mod tests {
    use super::*;
    use std::sync::mpsc;

    type Job = Box<dyn FnOnce(&AtomicBool) + Send>;

    const TERMS: Terms = Terms {
        name: "test",
        threads: 2,
        nice: None,
        idle: Duration::from_secs(100),
        waiting: 8,
        deferred: 2,
    };

    fn pool(terms: Terms) -> ThreadPool<Job> {
        ThreadPool::new(terms, |job: Job, ended: &AtomicBool| job(ended))
    }

    /// So many threads that stand still until what is given is dropped.
    fn stand_still(pool: &ThreadPool<Job>, threads: usize) -> mpsc::Sender<()> {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let (began, has_begun) = mpsc::channel();
        for _ in 0..threads {
            let (wait, began) = (Arc::clone(&wait), began.clone());
            let job = move |_: &AtomicBool| {
                began.send(()).unwrap();
                let _ = wait.lock().unwrap().recv();
            };
            assert!(pool.submit(Box::new(job)).is_ok());
        }
        has_begun.iter().take(threads).for_each(drop);
        go
    }

    fn telling<T: Send + 'static>(sender: &mpsc::Sender<T>, what: T) -> Job {
        let sender = sender.clone();
        Box::new(move |_| sender.send(what).unwrap())
    }

    #[test]
    fn one_that_stands_still_holds_up_no_other() {
        let pool = pool(TERMS);
        let go = stand_still(&pool, 1);
        let (done, is_done) = mpsc::channel();
        for n in 0..5 {
            assert!(pool.submit(telling(&done, n)).is_ok());
        }
        assert_eq!(is_done.iter().take(5).collect::<Vec<_>>(), (0..5).collect::<Vec<_>>());
        drop(go);
    }

    #[test]
    fn what_is_not_done_in_time_is_told_that_nobody_waits() {
        let pool = pool(TERMS);
        let go = stand_still(&pool, TERMS.threads);
        let (done, is_done) = mpsc::channel();
        let last = Box::new(move |ended: &AtomicBool| {
            done.send(ended.load(Ordering::Relaxed)).unwrap();
        });
        assert!(pool.submit(last).is_ok());
        pool.finish(Duration::from_millis(10));
        assert!(is_done.recv().unwrap());
        drop(go);
    }

    #[test]
    fn what_is_done_in_time_is_waited_for() {
        let pool = pool(TERMS);
        let (done, is_done) = mpsc::channel();
        for _ in 0..TERMS.waiting {
            let done = done.clone();
            let job = move |ended: &AtomicBool| {
                done.send(ended.load(Ordering::Relaxed)).unwrap();
            };
            assert!(pool.submit(Box::new(job)).is_ok());
        }
        pool.finish(Duration::from_secs(100));
        assert_eq!(is_done.try_iter().collect::<Vec<_>>(), [false; TERMS.waiting]);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let pool = pool(TERMS);
        let go = stand_still(&pool, TERMS.threads);
        let nothing = || Box::new(|_: &AtomicBool| ());
        let taken = (0..100).filter(|_| pool.submit(nothing()).is_ok()).count();
        let deferred = (0..100).filter(|_| pool.defer(nothing()).is_ok()).count();
        assert_eq!((taken, deferred), (TERMS.waiting, TERMS.deferred));
        drop(go);
    }

    #[test]
    fn what_is_deferred_is_done_last_and_what_is_oldest_is_forgotten() {
        let pool = pool(Terms { threads: 1, waiting: 3, ..TERMS });
        let go = stand_still(&pool, 1);
        let (done, is_done) = mpsc::channel();
        assert!(pool.defer(telling(&done, 100)).is_ok());
        for n in 0..5 {
            assert!(pool.submit_last(telling(&done, n)).is_ok());
        }
        drop((go, done));
        assert_eq!(is_done.iter().collect::<Vec<_>>(), [2, 3, 4, 100]);
    }

    #[test]
    fn one_that_breaks_down_takes_no_other_with_it() {
        let pool = pool(Terms { threads: 1, ..TERMS });
        let (done, is_done) = mpsc::channel();
        assert!(pool.submit(Box::new(|_| panic!("as is meant"))).is_ok());
        assert!(pool.submit(telling(&done, ())).is_ok());
        is_done.recv().unwrap();
    }

    #[test]
    fn who_has_nothing_to_do_ends() {
        let pool = pool(Terms { idle: Duration::from_millis(1), ..TERMS });
        let (here, thread) = mpsc::channel();
        /// Tells that its thread ends.
        struct End(mpsc::Sender<()>);
        impl Drop for End {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        thread_local!(static END: std::cell::RefCell<Option<End>> = const { std::cell::RefCell::new(None) });
        for _ in 0..2 {
            let here = here.clone();
            let job = move |_: &AtomicBool| END.set(Some(End(here)));
            assert!(pool.submit(Box::new(job)).is_ok());
            thread.recv().unwrap();
        }
    }

    #[test]
    fn what_waits_for_a_pool_that_goes_is_forgotten() {
        let pool = pool(Terms { threads: 1, ..TERMS });
        let go = stand_still(&pool, 1);
        let (done, is_done) = mpsc::channel();
        assert!(pool.submit(telling(&done, ())).is_ok());
        drop((pool, done));
        assert!(is_done.recv().is_err());
        drop(go);
    }
}
