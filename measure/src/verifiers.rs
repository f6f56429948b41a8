//! Threads that read files, so that who reads the kernel's events never does.
//!
//! Each container has its own: what one makes its readers wait for (a volume whose server
//! is gone, many large files) holds up none but its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// 2: one may stand before a slow volume without holding up the other.
const THREADS: usize = 2;
/// Files that may wait to be read. One more is told by what is known of it without: 256, a
/// second of libraries of the usual size, each with less than 4 KiB of what the kernel told.
const WAITING: usize = 256;
/// How long an idle thread stays.
const IDLE: Duration = Duration::from_secs(2);
/// In bytes. Nothing recurses; the largest buffers are on the heap.
const STACK: usize = 256 << 10;

/// What is done on one of the threads; told whether it is still wanted.
pub(crate) type Job = Box<dyn FnOnce(&AtomicBool) + Send>;

/// The threads of one container, started when there is something to read. Dropping it leaves
/// one that stands in a read to end by itself.
pub(crate) struct Verifiers(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: AtomicBool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    at_work: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verifiers {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicBool::new(false),
        }))
    }

    /// Has a job done, after those that came before; gives it back where too many wait.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        let mut queue = self.0.lock();
        if queue.jobs.len() >= WAITING {
            return Err(job);
        }
        if queue.idle <= queue.jobs.len() && queue.threads < THREADS {
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("verify".to_owned()).stack_size(STACK);
            if thread.spawn(move || run(&shared)).is_ok() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                return Err(job);
            }
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.0.changed.notify_all();
        Ok(())
    }

    /// Waits until all is done, so long at most; what is not done then is hurried: it is told
    /// that nobody waits for it.
    pub(crate) fn finish(&self, grace: Duration) {
        let until = Instant::now() + grace;
        let mut queue = self.0.lock();
        while queue.at_work > 0 || !queue.jobs.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue =
                self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.0.dropped.store(true, Ordering::Relaxed);
        // What waits is told at once, on this thread: nothing of it is read any more.
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        for job in jobs {
            job(&self.0.dropped);
        }
        self.0.changed.notify_all();
    }
}

impl Drop for Verifiers {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

fn run(shared: &Shared) {
    // Not as urgent as who started it may be: it reads at the container's pleasure.
    let _ = rustix::process::setpriority_process(None, 0);
    let mut queue = shared.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            queue.at_work += 1;
            drop(queue);
            // A judge that breaks down takes this file with it, and no other.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&shared.dropped)));
            queue = shared.lock();
            queue.at_work -= 1;
            shared.changed.notify_all();
            continue;
        }
        if shared.dropped.load(Ordering::Relaxed) {
            break;
        }
        queue.idle += 1;
        let (woken, timed) =
            shared.changed.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        queue.idle -= 1;
        if timed.timed_out() && queue.jobs.is_empty() {
            break;
        }
    }
    queue.threads -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn one_that_stands_still_holds_up_no_other() {
        let verifiers = Verifiers::new();
        let (go, wait) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        assert!(verifiers.submit(Box::new(move |_| _ = wait.recv())).is_ok());
        for n in 0..10 {
            let done = done.clone();
            assert!(verifiers.submit(Box::new(move |_| done.send(n).unwrap())).is_ok());
        }
        assert_eq!(is_done.iter().take(10).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        drop(go);
    }

    #[test]
    fn what_is_not_done_in_time_is_told_that_nobody_waits() {
        let verifiers = Verifiers::new();
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..THREADS {
            let wait = Arc::clone(&wait);
            assert!(verifiers.submit(Box::new(move |_| _ = wait.lock().unwrap().recv())).is_ok());
        }
        let (done, is_done) = mpsc::channel();
        let last = Box::new(move |dropped: &AtomicBool| {
            done.send(dropped.load(Ordering::Relaxed)).unwrap();
        });
        assert!(verifiers.submit(last).is_ok());
        verifiers.finish(Duration::from_millis(10));
        assert!(is_done.recv().unwrap());
        drop(go);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let verifiers = Verifiers::new();
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let blocked = |wait: &Arc<Mutex<mpsc::Receiver<()>>>| {
            let wait = Arc::clone(wait);
            verifiers.submit(Box::new(move |_| _ = wait.lock().unwrap().recv())).is_ok()
        };
        let taken = (0..WAITING + THREADS + 1).filter(|_| blocked(&wait)).count();
        assert!((WAITING..=WAITING + THREADS).contains(&taken));
        assert!(!blocked(&wait));
        drop(go);
    }
}
