//! A process of a container, held so that its number can't come to mean another.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// `USER_HZ`: what /proc counts in, on every architecture that lacre knows.
const TICKS: u64 = 100;

/// A process by its descriptor.
#[derive(Debug)]
pub(crate) struct Held {
    pid: u32,
    fd: OwnedFd,
}

impl Held {
    /// The process with that number now.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let raw = raw.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { pid, fd: rustix::process::pidfd_open(raw, PidfdFlags::empty())? })
    }

    /// The same; `None` where there is no such process, and an error where nobody can tell, as
    /// without a descriptor left.
    pub(crate) fn open_any(pid: u32) -> io::Result<Option<Self>> {
        const GONE: [Errno; 3] = [Errno::SRCH, Errno::INVAL, Errno::NOENT];
        match Self::open(pid) {
            Ok(held) => Ok(Some(held)),
            // Which of them a process has that is just being reaped is the kernel's version's.
            Err(why) if GONE.iter().any(|gone| why.raw_os_error() == Some(gone.raw_os_error())) => {
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    /// [`Held::open_any`], of the one that began `start` nanoseconds after boot.
    pub(crate) fn open_any_started(pid: u32, start: u64) -> io::Result<Option<Self>> {
        let Some(held) = Self::open_any(pid)? else { return Ok(None) };
        let stat = match std::fs::read(held.proc("stat")) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            // It went while it was read.
            Err(why) if why.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
            stat => stat?,
        };
        Ok((began_of(&stat) == Some(start / (1_000_000_000 / TICKS))).then_some(held))
    }

    /// The one that began `start` nanoseconds after boot; `None` when it is gone.
    pub(crate) fn open_started(pid: u32, start: u64) -> Option<Self> {
        let held = Self::open(pid).ok()?;
        (began(pid)? == start / (1_000_000_000 / TICKS)).then_some(held)
    }

    /// When it began, nanoseconds after boot, to a clock tick.
    pub(crate) fn started(&self) -> Option<u64> {
        Some(began(self.pid)?.saturating_mul(1_000_000_000 / TICKS))
    }

    /// Its numbers, in our pid namespace and in each below it that it is in, the innermost last.
    pub(crate) fn numbers(&self) -> Option<Vec<u32>> {
        let status = std::fs::read(self.proc("status")).ok()?;
        let line = status.split(|byte| *byte == b'\n').find_map(|l| l.strip_prefix(b"NSpid:"))?;
        std::str::from_utf8(line).ok()?.split_ascii_whitespace().map(|n| n.parse().ok()).collect()
    }

    /// Whether a folder of a /proc, whosever that is, is the process's.
    pub(crate) fn is_at(&self, folder: BorrowedFd<'_>) -> bool {
        let open = |name| {
            rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        let mut stat = Vec::new();
        let read = open("stat").is_ok_and(|fd| File::from(fd).read_to_end(&mut stat).is_ok());
        let namespace = rustix::fs::readlinkat(folder, "ns/pid", Vec::new());
        read && began_of(&stat).is_some_and(|its| Some(its) == began(self.pid))
            && namespace.ok() == rustix::fs::readlinkat(CWD, self.proc("ns/pid"), Vec::new()).ok()
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// A file of its folder in /proc.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// Whether it has not ended: then what was opened below [`Held::proc`] was its own.
    pub(crate) fn lives(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        matches!(rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())), Ok(0))
    }

    /// Waits for its end, that long at most.
    pub(crate) fn wait(&self, most: std::time::Duration) {
        let most = rustix::time::Timespec::try_from(most).unwrap_or_default();
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        let _ = rustix::event::poll(&mut fds, Some(&most));
    }

    /// Kills it; whether it has ended by that. One that has ended already, and waits to be reaped,
    /// takes a signal as any does.
    pub(crate) fn end(&self) -> bool {
        self.lives() && self.kill().is_ok()
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.fd, Signal::KILL)?)
    }
}

/// When the process with that number began, in clock ticks since boot; `None` when there is
/// none.
pub(crate) fn began(pid: u32) -> Option<u64> {
    began_of(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn began_of(stat: &[u8]) -> Option<u64> {
    // The name in parentheses may hold anything; field 22 is the 20th after it.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let ticks = stat.get(end + 2..)?.split(|byte| *byte == b' ').nth(19)?;
    std::str::from_utf8(ticks).ok()?.trim_end().parse().ok()
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_that_ended_is_told_from_one_that_lives() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let held = Held::open(child.id()).unwrap();
        assert!(held.lives());
        assert!(Held::open_started(child.id(), 1).is_none());
        assert!(held.end());
        held.wait(std::time::Duration::from_secs(10));
        // A zombie takes a signal.
        assert!(held.kill().is_ok() && !held.end());
        child.wait().unwrap();
        assert!(!held.lives());
    }
}
