//! The `fanotify` source: holds each first use of a file until it is known, by
//! permission events (fanotify(7), Linux 5.0).
//!
//! One group and one thread per container. The group is asked about what is executed,
//! its `#!` interpreter and its loader included; with [`Block::All`] about everything
//! that is opened, so that libraries, scripts and what is handed to a loader are seen
//! too (an open to write can't be told from one to read: unlisted code is not even
//! written to). A file of the image that is still as it was hashed is answered from what is
//! known; another is read while its opener waits, up to a deadline; what no baseline
//! lists is answered at once and read afterwards, for the report. What the baseline
//! allows is then ignored by the kernel until somebody opens it for writing
//! (`settled.rs`), so that steady state costs nothing.
//!
//! What it can't see: a memfd, code that is no file, scripts read from a pipe or sourced
//! by a script that was allowed; what is executed from a mount in a mount namespace
//! nested in the container's, or from a mount that came a moment ago (`marks.rs`). Once a
//! file was allowed, its content is what is kept true and not its name: renamed or
//! linked, the image's own bytes run under another name (overlayfs then copies the file
//! up, which `exec-trace` sees). And when the process that holds the group dies, the
//! kernel lets all that wait pass. `exec-trace` stands behind it.

mod code;
mod decide;
mod failure;
mod limits;
mod marks;
mod opener;
mod read;
mod recent;
mod responder;
mod root;
mod settled;
mod subject;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use lacre_sys::fanotify::{Group, Mask, Response};
use lacre_types::Source;
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};

pub use failure::{Failure, Follows};
pub use limits::Limits;

use crate::{Answer, Armed, Block, Judge, Loss, SourceError, Target};
use failure::Counters;
use limits::{FAREWELL, STACK};
use marks::Marks;
use opener::Home;
use responder::{Responder, Shared};
use root::Root;

/// The source at work on one container. Dropping it closes the group, which lets all
/// that wait go on, and ends its thread.
#[must_use = "dropping it disarms the source"]
pub struct FanotifyArmed {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ended: mpsc::Receiver<()>,
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
}

impl FanotifyArmed {
    /// How often each failure happened since it was armed.
    pub fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        self.shared.counters.all()
    }
}

impl Drop for FanotifyArmed {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // The group first, the thread after: nobody may wait for a thread that ends.
        let _ = self.shared.group.close();
        let _ = rustix::io::write(&*self.shared.wake, &1_u64.to_ne_bytes());
        // A thread that a dead server's file system holds is left to itself.
        let ended = self.ended.recv_timeout(FAREWELL);
        if !matches!(ended, Err(mpsc::RecvTimeoutError::Timeout))
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
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

/// [`arm`], with other limits than the default.
///
/// # Errors
/// As [`arm`].
pub fn arm_with(
    target: &Target,
    judge: Arc<dyn Judge>,
    mut limits: Limits,
) -> Result<FanotifyArmed, SourceError> {
    let init = target.init_pid;
    let home = Home::new().map_err(|error| failed("reading the own mount namespace", error))?;
    if home.has(init) {
        let needs = "a container with a mount namespace of its own";
        return Err(unavailable(needs, None));
    }
    limits.settled = limits.settled.min(spare_descriptors());
    let mask = match target.block {
        Block::Exec => Mask::EXEC,
        Block::All => Mask::EXEC.and(Mask::OPEN),
    };
    let group = Arc::new(Group::new().map_err(no_group)?);
    let mounts = |error| failed(&format!("reading the mounts of process {init}"), error);
    let mut marks = Marks::open(target, mask).map_err(mounts)?;
    let root = Root::new(marks.root(), target)
        .map_err(|error| failed(&format!("examining {}", target.rootfs.display()), error))?;
    let pidfd = Pid::from_raw(i32::try_from(init).unwrap_or(0))
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|error| failed(&format!("following process {init}"), error.into()))?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| failed("making an eventfd", error.into()))?;
    let shared = Arc::new(Shared {
        group,
        wake: Arc::new(wake),
        stop: AtomicBool::new(false),
        counters: Counters::default(),
        judge,
    });
    marks.apply(&shared.group, false).map_err(mounts)?;
    start(target, shared, (root, home), (marks, pidfd), (mask, limits))
}

fn start(
    target: &Target,
    shared: Arc<Shared>,
    facts: (Root, Home),
    follow: (Marks, OwnedFd),
    terms: (Mask, Limits),
) -> Result<FanotifyArmed, SourceError> {
    let (started, is_started) = mpsc::sync_channel(1);
    let (ends, ended) = mpsc::sync_channel(1);
    let its = (target.clone(), Arc::clone(&shared));
    let thread = std::thread::Builder::new()
        .name("fanotify".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let (target, shared) = its;
            let _end = End(Arc::clone(&shared), ends);
            match Responder::new(&target, &shared, facts, follow, terms) {
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
    let armed = FanotifyArmed { shared, thread: Some(thread), ended };
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
        let _ = self.0.group.close();
        if !self.0.stop.load(Ordering::Acquire) {
            let reason = "the responder ended; nothing is held back any more".to_owned();
            self.0.judge.lost(Source::Fanotify, Loss::Ended(reason));
        }
        let _ = self.1.try_send(());
    }
}

/// How many descriptors may be kept: half of what is left above 256 for other work.
fn spare_descriptors() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most.saturating_sub(256) / 2).unwrap_or(usize::MAX)
}

const fn raw(answer: Answer) -> Response {
    match answer {
        Answer::Allow => Response::Allow,
        Answer::Deny => Response::Deny,
    }
}

fn no_group(error: io::Error) -> SourceError {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::NOSYS | Errno::INVAL) => {
            unavailable("Linux 5.0 with CONFIG_FANOTIFY_ACCESS_PERMISSIONS", Some(error))
        }
        Some(Errno::PERM) => unavailable("CAP_SYS_ADMIN", Some(error)),
        Some(Errno::MFILE) => failed(
            "making a group; raise fs.fanotify.max_user_groups, one is used per container",
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
    /// A mount table.
    pub fn fuzz_mountinfo(data: &[u8]) {
        let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        match crate::mountinfo::parse(data) {
            Ok(mounts) => assert_eq!(mounts.len(), lines),
            Err(crate::mountinfo::Malformed(line)) => assert!((1..=data.len() + 1).contains(&line)),
        }
    }

    /// The first bytes of a file.
    pub fn fuzz_head(data: &[u8]) {
        if let Some(path) = super::code::interpreter(data) {
            assert!(data.windows(path.len().max(1)).any(|part| part == path) || path.is_empty());
            assert!(!data.starts_with(b"#!") || !path.iter().any(u8::is_ascii_whitespace));
        }
        let code = super::code::by_content(data, b"/x").is_some();
        assert_eq!(code, data.starts_with(b"#!") || data.starts_with(b"\x7fELF"));
    }

    /// A command line, a NUL after each argument.
    pub fn fuzz_command_line(data: &[u8]) {
        super::opener::fuzz(data);
    }
}
