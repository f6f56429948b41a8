//! The `fanotify` source: holds each first use of a file until it is known, by
//! permission events (fanotify(7), Linux 5.0).
//!
//! One thread per container, and one group for all containers of a shim (`groups.rs`): a
//! question is the container's whose process asks. The group is asked about what is executed,
//! its `#!` interpreter and its loader included; with [`Block::All`] about everything
//! that is opened, so that libraries, scripts and what is handed to a loader are seen
//! too: who reads a file, or only writes it, runs nothing (`code.rs`, `system_call.rs`). With
//! [`Block::Exec`] that is so of code directories alone, where the policy declares any
//! (`declared.rs`).
//! A file of the image that is still as it was hashed is answered from what is
//! known; another is read while its opener waits, up to a deadline; what no baseline
//! lists is answered at once and read afterwards, for the report. What the baseline
//! allows is then ignored by the kernel until somebody opens it for writing, and what is the
//! image's data until it is written to (`ignore_marks.rs`); where many files are opened in a row,
//! that comes before they are asked about (`look_ahead.rs`).
//!
//! What it can't see: a memfd, code that is no file, scripts read from a pipe or sourced
//! by a script that was allowed; what is executed from a mount in a mount namespace
//! nested in the container's, or from a mount that came a moment ago (`marks.rs`). Once a
//! file was allowed, its content is what is kept true and not its name: renamed or
//! linked, the image's own bytes run under another name (overlayfs then copies the file
//! up, which `exec-trace` sees). And when the process that holds the group dies, the
//! kernel lets all that wait pass. `exec-trace` stands behind it.

mod answer;
mod code;
mod decision;
mod declared;
mod event_file;
mod failure;
mod groups;
mod holder;
mod ignore_marks;
mod limits;
mod look_ahead;
mod marker;
mod marks;
mod notification_group;
mod opener;
mod programs;
mod readings;
mod recent_execs;
mod requester;
mod responder;
mod root;
mod seat;
mod system_call;
mod verification;
mod way;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use lacre_sys::fanotify::Mask;
use lacre_types::Source;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};

pub use failure::{Failure, Follows};
pub use groups::Groups;
pub use holder::Holder;
pub use limits::Limits;
pub(crate) use notification_group::{Listener, Telling};

use crate::{Armed, Block, Judge, Loss, SourceError, Target};
use event_file::Facts;
use limits::{FAREWELL, STACK, WIDENING};
use marker::Marker;
use marks::Marks;
use opener::Member;
use responder::{Responder, Shared};
use root::Root;
use seat::Seat;

/// The source at work on one container. Dropping it takes its marks off and ends its
/// thread; who still waits then is refused in enforce mode.
#[must_use = "dropping it disarms the source"]
pub struct FanotifyArmed {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ended: mpsc::Receiver<()>,
    holder: Holder,
    root: Arc<Root>,
    rootfs: PathBuf,
}

impl std::fmt::Debug for FanotifyArmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FanotifyArmed").finish_non_exhaustive()
    }
}

impl Armed for FanotifyArmed {
    fn source(&self) -> Source {
        Source::Fanotify
    }

    /// What the baseline does not allow was never told to the kernel, and is asked about again.
    fn enforce(&self) -> Result<(), SourceError> {
        self.shared.seat.enforce.store(true, Ordering::Release);
        Ok(())
    }

    /// Where the policy comes to declare code directories, opens are asked about from here on.
    fn rules_changed(&self) -> Result<(), SourceError> {
        let had_any = self.root.declared.any();
        let followed = self.root.declared.refresh(self.holder.root.as_fd(), &self.rootfs);
        if self.root.declared.any() && !had_any {
            let (done, is_done) = mpsc::sync_channel(1);
            seat::lock(&self.shared.widening).push(done);
            self.shared.seat.wake();
            let widened = is_done.recv_timeout(WIDENING);
            widened
                .unwrap_or_else(|_| Err(io::Error::other("the responder does not answer")))
                .map_err(|error| failed("asking about what is opened", error))?;
        }
        followed.map_err(|error| failed("following the declared code directories", error))
    }
}

impl FanotifyArmed {
    /// Holds files whose next use must be asked about.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.holder.clone()
    }

    /// How often each failure happened since it was armed.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        self.shared.seat.counters.all()
    }
}

impl Drop for FanotifyArmed {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.seat.wake();
        let ended = self.ended.recv_timeout(FAREWELL);
        if matches!(ended, Err(mpsc::RecvTimeoutError::Timeout)) {
            // A thread that a dead server's file system holds is left to itself.
            self.shared.asking.leave(&self.shared.seat);
        } else if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether this node's kernel asks before something is executed. A group is made for the
/// question, and asks about a file in memory that is this process's own.
///
/// # Errors
/// As [`arm`].
pub fn offered() -> Result<(), SourceError> {
    let group = groups::one().map_err(no_group)?;
    let file = memfd_create("lacre", MemfdFlags::CLOEXEC)
        .map_err(|error| failed("making a file in memory", error.into()))?;
    group.hold(Mask::EXEC, file.as_fd()).map_err(no_group)
}

/// Arms the source, between Create and Start.
///
/// # Errors
/// [`SourceError::Unavailable`] when the kernel has no permission events, or the
/// container no mount namespace of its own; [`SourceError::Failed`] when a mount of the
/// container could not be marked.
pub fn arm(target: &Target, judge: Arc<dyn Judge>) -> Result<FanotifyArmed, SourceError> {
    arm_with(target, judge, Limits::default())
}

/// [`arm`], at the groups of a shim that has other containers too.
///
/// # Errors
/// As [`arm`].
pub fn arm_at(
    groups: &Groups,
    target: &Target,
    judge: Arc<dyn Judge>,
    limits: Limits,
) -> Result<FanotifyArmed, SourceError> {
    with_groups(groups, target, judge, limits)
}

/// [`arm`], with other limits than the default.
///
/// # Errors
/// As [`arm`].
pub fn arm_with(
    target: &Target,
    judge: Arc<dyn Judge>,
    limits: Limits,
) -> Result<FanotifyArmed, SourceError> {
    with_groups(&Groups::new(), target, judge, limits)
}

fn with_groups(
    groups: &Groups,
    target: &Target,
    judge: Arc<dyn Judge>,
    mut limits: Limits,
) -> Result<FanotifyArmed, SourceError> {
    let init = target.init_pid;
    let member = Member::of(init)
        .map_err(|error| failed(&format!("reading the namespaces of process {init}"), error))?;
    if member.is_at_home() {
        let why = "it has no mount namespace of its own, and what it opens is the node's";
        return Err(failed("telling the container from the node", io::Error::other(why)));
    }
    limits.settled = limits.settled.min(spare_descriptors());
    let mounts = |error| failed(&format!("reading the mounts of process {init}"), error);
    let marks = Marks::open(target).map_err(mounts)?;
    let examining = |error| failed(&format!("examining {}", target.rootfs.display()), error);
    let root = Arc::new(Root::new(marks.root(), target, &judge).map_err(examining)?);
    let mut mask = Mask::EXEC;
    if target.block == Block::All || root.declared.any() {
        mask = mask.and(Mask::OPEN);
    }
    let device = Facts::of(marks.root()).map_err(examining)?.state.dev;
    let pidfd = Pid::from_raw(i32::try_from(init).unwrap_or(0))
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|error| failed(&format!("following process {init}"), error.into()))?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| failed("making an eventfd", error.into()))?;
    let seat = Arc::new(Seat::new((member, device), Arc::new(wake), judge, target.mode));
    // What is asked between the marks and the thread waits for it.
    let asking = groups.sit(&seat).map_err(no_group)?;
    let (unlinked, stop, widening) = (groups.unlinked(), AtomicBool::new(false), Mutex::default());
    let shared = Arc::new(Shared { asking, seat, unlinked, stop, widening });
    let armed = marks.root().try_clone_to_owned();
    let armed = armed.map_err(|error| failed("holding on to the container's root", error));
    let armed = armed.and_then(|at| {
        let marker = Marker::new(marks, &shared.asking, &shared.seat, mask);
        marker.first().map_err(mounts)?;
        start(target, Arc::clone(&shared), (root, at), (marker, pidfd), (mask, limits))
    });
    if armed.is_err() {
        shared.asking.leave(&shared.seat);
    }
    armed
}

fn start(
    target: &Target,
    shared: Arc<Shared>,
    (root, at): (Arc<Root>, OwnedFd),
    follow: (Marker, OwnedFd),
    terms: (Mask, Limits),
) -> Result<FanotifyArmed, SourceError> {
    let at = Arc::new(at);
    let holder = Holder { group: Arc::clone(&shared.asking.group), root: Arc::clone(&at) };
    let (started, is_started) = mpsc::sync_channel(1);
    let (ends, ended) = mpsc::sync_channel(1);
    let its = (target.clone(), Arc::clone(&shared), Arc::clone(&root));
    let thread = std::thread::Builder::new()
        .name("fanotify".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let (target, shared, root) = its;
            let _end = End(Arc::clone(&shared), ends);
            match Responder::new(&target, &shared, (root, at), follow, terms) {
                Ok(responder) => {
                    let _ = started.send(Ok(()));
                    responder.run();
                }
                Err(error) => {
                    shared.stop.store(true, Ordering::Release);
                    let _ = started.send(Err(error));
                }
            }
        })
        .map_err(|error| failed("starting the responder", error))?;
    let (rootfs, thread) = (target.rootfs.clone(), Some(thread));
    let armed = FanotifyArmed { shared, thread, ended, holder, root, rootfs };
    match is_started.recv() {
        Ok(Ok(())) => Ok(armed),
        Ok(Err(error)) => Err(failed("starting the responder", error)),
        Err(_) => Err(failed("starting the responder", io::Error::other("its thread died"))),
    }
}

/// However the thread ends, nobody waits for it any more, and everybody knows.
struct End(Arc<Shared>, mpsc::SyncSender<()>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.asking.leave(&self.0.seat);
        if !self.0.stop.load(Ordering::Acquire) {
            let reason = "the responder ended; nothing is held back any more".to_owned();
            self.0.seat.judge.lost(Source::Fanotify, Loss::Ended(reason));
        }
        let _ = self.1.try_send(());
    }
}

/// How many descriptors may be kept: half of what is left above 256 for other work.
fn spare_descriptors() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most.saturating_sub(256) / 2).unwrap_or(usize::MAX)
}

fn no_group(error: io::Error) -> SourceError {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::NOSYS | Errno::INVAL) => {
            unavailable("Linux 5.0 with CONFIG_FANOTIFY_ACCESS_PERMISSIONS", Some(error))
        }
        Some(Errno::PERM) => unavailable("CAP_SYS_ADMIN", Some(error)),
        Some(Errno::MFILE) => failed(
            "making a group under several users, each of which has as many as it may; raise \
             fs.fanotify.max_user_groups, and the shim's limit of open files",
            error,
        ),
        _ => failed("making a group", error),
    }
}

fn unavailable(needs: &str, source: Option<io::Error>) -> SourceError {
    SourceError::Unavailable { source_name: Source::Fanotify, needs: needs.to_owned(), source }
}

fn failed(doing: &str, source: io::Error) -> SourceError {
    SourceError::Failed { source_name: Source::Fanotify, doing: doing.to_owned(), source }
}

/// Entry points for fuzzing.
#[doc(hidden)]
pub mod fuzz {
    /// The first bytes of a file.
    pub fn fuzz_head(data: &[u8]) {
        if let Some(path) = super::code::interpreter(data) {
            assert!(!path.is_empty() && data.windows(path.len()).any(|part| part == path));
            assert!(!data.starts_with(b"#!") || !path.iter().any(u8::is_ascii_whitespace));
        }
        let code = super::code::first(data, b"/x", || false) == super::code::First::Look;
        assert_eq!(code, data.starts_with(b"#!") || data.starts_with(b"\x7fELF"));
    }

    /// A command line, a NUL after each argument.
    pub fn fuzz_command_line(data: &[u8]) {
        super::requester::fuzz(data);
    }
}
