use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use lacre_types::chain;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup::{Cgroup, Version, gone};
use crate::freezer::{Freezer, wait};

/// How long killed processes get to be gone. One in uninterruptible sleep dies when it
/// wakes.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the cgroup is looked through again, for processes that were just being put
/// into it (`exec`) when it was read.
const ROUNDS: usize = 8;

/// A container's init, held so that its number can't come to mean another process.
#[derive(Debug)]
pub struct Init {
    pid: u32,
    fd: OwnedFd,
    /// Its mount namespace, when it is not ours.
    mounts: Option<u64>,
    /// Whether its end takes all others with it: it is the first of a pid namespace.
    alone: bool,
}

/// What killing came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Killed {
    /// How many processes got the signal one by one; `cgroup.kill` does not tell.
    pub count: usize,
    /// Those that are still there.
    pub left: Vec<u32>,
    /// What could not be done on the way.
    pub trouble: Vec<String>,
}

impl Init {
    /// Holds the process.
    ///
    /// # Errors
    /// When there is none.
    pub fn hold(pid: u32) -> io::Result<Self> {
        let fd = open(pid)?;
        let mounts = namespace(pid, "mnt").filter(|&own| Some(own) != namespace_of_self("mnt"));
        let alone = namespace(pid, "pid").is_some_and(|own| Some(own) != namespace_of_self("pid"));
        Ok(Self { pid, fd, mounts, alone })
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether its end takes all others with it.
    pub(crate) const fn alone(&self) -> bool {
        self.alone
    }

    /// Sends it a signal. One that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        send(&self.fd, signal)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&self) -> io::Result<bool> {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, no longer than that. Says whether it came.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        wait(&self.fd, PollFlags::IN, limit)
    }

    /// Processes outside the container's cgroup that live in its mount namespace: of a
    /// container with the host's pid namespace, what left the cgroup. All of `/proc` is
    /// read.
    fn strays(&self) -> Vec<u32> {
        let Some(mounts) = self.mounts.filter(|_| !self.alone) else { return Vec::new() };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&pid| namespace(pid, "mnt") == Some(mounts))
            .collect()
    }
}

/// Kills every process of a container, and waits for their end. Frozen first, so that none
/// forks away meanwhile. `known`: processes that somebody else counts as the container's.
pub(crate) fn kill(cgroup: Option<&std::sync::Arc<Cgroup>>, init: &Init, known: &[u32]) -> Killed {
    let mut killed = Killed::default();
    let deadline = Instant::now() + PATIENCE;
    let freezer = cgroup.cloned().map(Freezer::new);
    for round in 0..ROUNDS {
        // v2 kills the frozen; a v1 freezer holds them until it is thawed.
        if let Some(freezer) = &freezer
            && let Err(error) = freezer.freeze()
            && !matches!(error, crate::FreezeError::Gone(_))
        {
            killed.trouble.push(chain(&error));
        }
        if let Err(error) = init.signal(Signal::KILL) {
            killed.trouble.push(format!("SIGKILL to the init, process {}: {error}", init.pid));
        }
        if let Some(cgroup) = cgroup {
            at_once(cgroup, &mut killed);
        }
        let mut pids: BTreeSet<u32> = init.strays().into_iter().collect();
        match cgroup.map_or_else(|| Ok(Vec::new()), |cgroup| cgroup.processes()) {
            Ok(inside) => pids.extend(inside),
            Err(error) if gone(&error) => {}
            Err(error) => killed.trouble.push(format!("reading cgroup.procs: {error}")),
        }
        if round == 0 {
            pids.extend(known);
        }
        let pidfds: Vec<_> = pids.iter().filter_map(|&pid| Some((pid, open(pid).ok()?))).collect();
        for (pid, fd) in &pidfds {
            match send(fd, Signal::KILL) {
                Ok(()) => killed.count += 1,
                Err(error) => killed.trouble.push(format!("SIGKILL to {pid}: {error}")),
            }
        }
        if let Some(freezer) = &freezer {
            // Gone is what we want.
            let _ = freezer.thaw();
        }
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let ended = |fd: &OwnedFd| wait(fd, PollFlags::IN, left(deadline)).unwrap_or(false);
        killed.left = pidfds.iter().filter(|(_, fd)| !ended(fd)).map(|(pid, _)| *pid).collect();
        if !init.wait(left(deadline)).unwrap_or(false) && !killed.left.contains(&init.pid) {
            killed.left.push(init.pid);
        }
        if pidfds.is_empty() || !killed.left.is_empty() {
            break;
        }
    }
    killed
}

/// `cgroup.kill` (Linux 5.14): every process in and beneath it, none can escape by forking.
fn at_once(cgroup: &Cgroup, killed: &mut Killed) {
    if cgroup.version == Version::One {
        return;
    }
    let done = cgroup.open("cgroup.kill", OFlags::WRONLY).and_then(|mut file| file.write_all(b"1"));
    if let Err(error) = done
        && !gone(&error)
    {
        killed.trouble.push(format!("cgroup.kill: {error}"));
    }
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn send(fd: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(fd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The inode of a process's namespace.
pub(crate) fn namespace(pid: u32, name: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/{name}")).ok().map(|meta| meta.ino())
}

fn namespace_of_self(name: &str) -> Option<u64> {
    namespace(std::process::id(), name)
}
