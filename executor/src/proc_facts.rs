//! What `/proc` tells of a process (proc(5)).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use lacre_types::proc_pid::status_field;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Whose child a process is, and in which namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its parent, 0 when that is not seen from here.
    pub(crate) parent: u32,
    /// In how many pid namespaces it has a number, from ours down to its own.
    pub(crate) depth: usize,
    /// Its number in its own pid namespace.
    pub(crate) own_number: u32,
    pub(crate) pid_namespace: Option<u64>,
    pub(crate) mounts: Option<u64>,
}

impl Facts {
    /// `None`: there is no such process any more.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read(format!("/proc/{pid}/status")).ok()?;
        let mut numbers = status_field(&status, "NSpid")?;
        Some(Self {
            parent: status_field(&status, "PPid")?.next()?.parse().ok()?,
            depth: numbers.clone().count(),
            own_number: numbers.next_back()?.parse().ok()?,
            pid_namespace: namespace(pid, "pid"),
            mounts: of_any_thread(pid, |task| inode(&format!("{task}/ns/mnt"))),
        })
    }
}

/// The inode of a process's namespace.
pub(crate) fn namespace(pid: u32, name: &str) -> Option<u64> {
    inode(&format!("/proc/{pid}/ns/{name}"))
}

fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}

/// A process's mount namespace, which does not end while this is held.
pub(crate) fn mount_namespace(pid: u32) -> Option<File> {
    of_any_thread(pid, |task| File::open(format!("{task}/ns/mnt")).ok())
}

/// The device and inode of a process's root directory.
pub(crate) fn root(pid: u32) -> Option<(u64, u64)> {
    of_any_thread(pid, |task| {
        fs::metadata(format!("{task}/root")).ok().map(|meta| (meta.dev(), meta.ino()))
    })
}

/// The first thread of a process may have ended while others run; it tells nothing then.
fn of_any_thread<T>(pid: u32, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let process = format!("/proc/{pid}");
    read(&process).or_else(|| {
        let tasks = fs::read_dir(format!("{process}/task")).ok()?.flatten();
        tasks.filter_map(|task| read(task.path().to_str()?)).next()
    })
}

/// Every process that `/proc` shows.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Holds a process: its number can't come to mean another.
pub(crate) fn hold(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal to a process that is held. One that has ended is no error.
pub(crate) fn send(fd: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(fd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    /// The kernel takes any bytes for a name (prctl(2), `PR_SET_NAME`).
    #[test]
    fn whoever_has_a_name_that_is_no_text_is_there() {
        let script = r"printf '\377\376 x' > /proc/self/comm; echo; read wait";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let name = fs::read(format!("/proc/{}/comm", child.id())).unwrap();
        let found = Facts::of(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(name, b"\xff\xfe x\n");
        assert_eq!(found.map(|facts| facts.parent), Some(std::process::id()));
    }
}
