//! A few threads that read and hash files, so that the responder never waits for a disk.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lacre_types::{CanonicalPath, Digest};

use super::code::{self, Opened, Told};
use super::event_file::{Facts, State, names};
use super::failure::Failure;
use super::limits::Limits;
use super::programs::Programs;
use super::requester;
use super::root::Root;
use super::seat::lock;
use super::way;
use crate::Listing;
use crate::files::Layers;
use crate::image_content::ImageContent;
use crate::thread_pool::{Spare, Terms, ThreadPool};
use crate::unverified::{Unverified, Why};
use crate::verified::{self, Verified};

/// How many report digests are remembered: a program that is denied and tried again
/// is read once.
const REMEMBERED: usize = 32;

pub(super) struct Job {
    pub(super) id: u64,
    pub(super) file: OwnedFd,
    pub(super) path: Option<CanonicalPath>,
    pub(super) state: State,
    pub(super) pid: u32,
    pub(super) purpose: Purpose,
    /// Nobody waits for it any more.
    pub(super) dropped: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A process waits, and the digest decides, or is at least to be known to others.
    Verdict,
    /// A process waits, and whether it runs the file decides.
    Look(Told),
    /// A process waits, and whether the file lay where the policy declares code decides, too.
    Place(Told),
    /// The digest is only told.
    Report,
}

/// What came of a job.
pub(super) struct Done {
    pub(super) id: u64,
    pub(super) found: Result<Found, Refusal>,
}

/// Why a file was not verified, and what it held all the same.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) glimpse: Option<Digest>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, glimpse: None }
    }
}

impl From<Unverified> for Refusal {
    fn from(Unverified { why, glimpse }: Unverified) -> Self {
        let failure = match why {
            Why::Unexamined(_) => Failure::NoFacts,
            Why::Writer => Failure::Writer,
            Why::NoPromise(_) => Failure::NoPromise,
            Why::Unplaced => Failure::Unplaced,
            Why::TooLarge(_) => Failure::TooLarge,
            Why::Changed => Failure::Changed,
            Why::Unreadable(_) => Failure::Unreadable,
            Why::Dropped => Failure::Deadline,
        };
        Self { failure, glimpse }
    }
}

pub(super) enum Found {
    /// What a process waits for.
    Verified(Verified),
    /// What a report has.
    Digest(Digest),
    /// What opening it is.
    Opened(Opened),
}

/// The threads of one container. Dropping it leaves one that is stuck in a read to end by itself.
pub(super) struct Readers {
    pool: ThreadPool<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    layers: Layers,
    content: ImageContent,
    root: Arc<Root>,
    rootfs: PathBuf,
    programs: Arc<Programs>,
    most: u64,
    most_told: u64,
    wake: Arc<OwnedFd>,
    done: Mutex<Vec<Done>>,
    remembered: Mutex<VecDeque<(State, Digest)>>,
}

impl Readers {
    pub(super) fn new(
        (layers, root, rootfs): (Layers, Arc<Root>, PathBuf),
        programs: Arc<Programs>,
        wake: Arc<OwnedFd>,
        limits: Limits,
    ) -> Self {
        let terms = Terms {
            name: "fanotify-read",
            threads: limits.readers,
            nice: None,
            idle: limits.idle,
            waiting: limits.waiting,
            deferred: limits.reports,
            spare: Some(Spare { after: limits.held_after, threads: limits.spare_readers }),
        };
        let (most, done, remembered) = (limits.verify_bytes, <_>::default(), <_>::default());
        let most_told = limits.report_bytes;
        let content = ImageContent::default();
        let shared = Shared {
            layers,
            content,
            root,
            rootfs,
            programs,
            most,
            most_told,
            wake,
            done,
            remembered,
        };
        let shared = Arc::new(shared);
        let its = Arc::clone(&shared);
        let pool = ThreadPool::new(terms, move |job: Job, given_up: &AtomicBool| {
            if given_up.load(Ordering::Relaxed) {
                its.finish(job.id, Err(Failure::QueueFull.into()));
            } else {
                its.perform(job);
            }
        });
        Self { pool, shared }
    }

    /// Queues a file to be read; `wake` tells when [`Readers::done`] has it.
    ///
    /// # Errors
    /// [`Failure::QueueFull`].
    pub(super) fn submit(&self, job: Job) -> Result<(), Failure> {
        let submitted = match job.purpose {
            Purpose::Verdict | Purpose::Look(_) | Purpose::Place(_) => self.pool.submit(job),
            Purpose::Report => self.pool.defer(job),
        };
        submitted.map_err(|_| Failure::QueueFull)
    }

    /// What was read since the last call.
    pub(super) fn done(&self) -> Vec<Done> {
        std::mem::take(&mut lock(&self.shared.done))
    }
}

impl Shared {
    fn perform(&self, job: Job) {
        let found = match job.purpose {
            Purpose::Verdict => verify(&job, self).map(Found::Verified),
            Purpose::Report => {
                let id = job.id;
                let found = tell(job, self).map(Found::Digest);
                return self.finish(id, found.map_err(|why| Unverified::from(why).into()));
            }
            Purpose::Look(told) => look(&job, told, self).map(Found::Opened).map_err(Refusal::from),
            Purpose::Place(told) => {
                place(&job, told, self).map(Found::Opened).map_err(Refusal::from)
            }
        };
        let id = job.id;
        drop(job);
        self.finish(id, found);
    }

    fn finish(&self, id: u64, found: Result<Found, Refusal>) {
        lock(&self.done).push(Done { id, found });
        // Best effort on a counter that cannot be full.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

/// Reads a file by its event's own descriptor: no mount is asked for it again.
fn verify(job: &Job, shared: &Shared) -> Result<Verified, Refusal> {
    let file = job.file.try_clone().map_err(|_| Failure::QueueFull)?;
    let (path, layers) = (job.path.as_ref(), &shared.layers);
    let verified = verified::verify_patiently(shared.most, file, path, layers, &job.dropped)?;
    // Here, and not where somebody is to be answered.
    verified.settle();
    Ok(verified)
}

/// Reads a file that was decided on without its content.
fn tell(job: Job, shared: &Shared) -> Result<Digest, Why> {
    let remembered =
        lock(&shared.remembered).iter().find(|(state, _)| *state == job.state).map(|(_, d)| *d);
    if let Some(digest) = remembered {
        return Ok(digest);
    }
    let digest = verified::hash(&File::from(job.file), shared.most_told, &job.dropped)?;
    let mut remembered = lock(&shared.remembered);
    if remembered.len() >= REMEMBERED {
        remembered.pop_front();
    }
    remembered.push_back((job.state, digest));
    Ok(digest)
}

/// Whether opening the file is running it.
fn look(job: &Job, told: Told, shared: &Shared) -> Result<Opened, Failure> {
    let path = job.path.as_ref().map_or(&[][..], CanonicalPath::as_bytes);
    let look = |told| code::look(&job.file, (path, told), job.pid, &shared.programs);
    let mut opened = look(told)?;
    if !matches!(opened, Opened::Run(_)) && !told.declared && was_declared(job, shared) {
        opened = look(Told { declared: true, ..told })?;
    }
    // What the image has and does not list was never foreign, whoever opens it.
    let is_images = || {
        let (path, layers) = (job.path.as_ref(), &shared.layers);
        told.listing == Listing::No
            && shared.content.has(job.file.as_fd(), path, layers, &job.dropped)
    };
    Ok(if opened != Opened::Data && is_images() { Opened::Data } else { opened })
}

/// The same where opening it is no matter unless it is code by its place.
fn place(job: &Job, told: Told, shared: &Shared) -> Result<Opened, Failure> {
    if !was_declared(job, shared) {
        return Ok(Opened::Data);
    }
    match look(job, Told { declared: true, ..told }, shared)? {
        Opened::Run(event) => Ok(Opened::Run(event)),
        Opened::Untold | Opened::Data => Ok(Opened::Data),
    }
}

/// Whether the file lay in a declared directory when it was asked for, though it is called
/// otherwise by now: it may be renamed while the question waits, and back when it is answered.
fn was_declared(job: &Job, shared: &Shared) -> bool {
    let root = &shared.root;
    if !root.declared.any() || !requester::may_interpret(job.pid, &shared.programs) {
        return false;
    }
    let Ok(facts) = Facts::of(&job.file) else { return true };
    let now = names(job.file.as_fd(), &facts, Some(&shared.rootfs)).into_iter().next();
    let is_declared = |name: Option<&_>| root.is_declared(name, &facts, job.pid);
    is_declared(now.as_ref())
        || way::asked_for(job.pid).is_some_and(|place| is_declared(Some(&place)))
}
