//! Threads that read files, so that who reads the kernel's events never does.
//!
//! Each container has its own: what one makes its readers wait for (a volume whose server
//! is gone, many large files) holds up none but its own.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::thread_pool::{Spare, Terms, ThreadPool};

const TERMS: Terms = Terms {
    name: "verify",
    // One may stand before a slow volume without holding up the other.
    threads: 2,
    // Not as urgent as who starts it may be: it reads at the container's pleasure.
    nice: Some(0),
    idle: Duration::from_secs(2),
    // One more is told by what is known of it without: a second of libraries of the usual size,
    // each with less than 4 KiB of what the kernel told.
    waiting: 256,
    // As many are told by their size alone where more wait to be told.
    deferred: 256,
    // Twice what the largest file takes that is read.
    spare: Some(Spare { after: Duration::from_secs(2), threads: 4 }),
};

/// What is done on one of the threads; told whether it is still wanted.
pub(crate) type Job = Box<dyn FnOnce(&AtomicBool) + Send>;

/// The threads of one container. Dropping it does what still waits, as no longer wanted.
pub(crate) struct Verifiers(ThreadPool<Job>);

impl Verifiers {
    pub(crate) fn new() -> Self {
        Self(ThreadPool::new(TERMS, |job: Job, dropped: &AtomicBool| job(dropped)))
    }

    /// Has a job done, after those that came before; gives it back where too many wait.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        self.0.submit(job)
    }

    /// Has a job done when nothing else waits: one that nobody's end depends on.
    pub(crate) fn defer(&self, job: Job) -> Result<(), Job> {
        self.0.defer(job)
    }

    /// Waits until all is done, so long at most; what is not done then is hurried: it is told
    /// that nobody waits for it.
    pub(crate) fn finish(&self, grace: Duration) {
        self.0.finish(grace);
    }
}

impl Drop for Verifiers {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}
