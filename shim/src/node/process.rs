//! Other processes, told apart from those that later get the same number.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_types::proc_pid::stat_field;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::proc_files;

/// A process: its number, and when it began, which together nobody else ever has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Clock ticks after boot (proc(5), `starttime`).
    pub began: u64,
}

impl Process {
    /// The process that has this number now, be it that it merely waits to be reaped.
    #[must_use]
    pub fn by_pid(pid: u32) -> Option<Self> {
        began(pid).map(|began| Self { pid, began })
    }

    /// This process.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::by_pid(std::process::id())
    }

    /// The same; an error where nobody can tell, as without a descriptor left.
    ///
    /// # Errors
    /// As the kernel has it.
    pub fn look_up(pid: u32) -> io::Result<Option<Self>> {
        Ok(start(pid)?.map(|began| Self { pid, began }))
    }

    /// A descriptor that stands for it, readable once it has ended (`pidfd_open(2)`); `None` when
    /// it has gone.
    ///
    /// # Errors
    /// When nobody can tell, as without a descriptor left.
    pub fn open(self) -> io::Result<Option<std::os::fd::OwnedFd>> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            // Which of them a process has that is just being reaped is the kernel's version's.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            fd => fd?,
        };
        // Looked at after the descriptor was had: what has begun then is what it stands for.
        Ok((start(self.pid)? == Some(self.began)).then_some(fd))
    }

    /// Whether it is there, and not merely waiting to be reaped. One of which nobody can tell is.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match self.open() {
            Ok(Some(fd)) => !ended(&fd, Duration::ZERO),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Kills it, and waits until it has gone; whether it has.
    #[must_use]
    pub fn kill(self, limit: Duration) -> bool {
        let fd = match self.open() {
            Ok(Some(fd)) => fd,
            Ok(None) => return true,
            Err(_) => return false,
        };
        // Failing means that it has gone.
        let _ = pidfd_send_signal(&fd, Signal::KILL);
        ended(&fd, limit)
    }

    /// Waits until it has gone; whether it has.
    #[must_use]
    pub fn wait(self, limit: Duration) -> bool {
        self.open().is_ok_and(|fd| fd.is_none_or(|fd| ended(&fd, limit)))
    }
}

fn ended(fd: &std::os::fd::OwnedFd, limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    loop {
        match poll(&mut fds, Some(&limit)) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// The parent of a process, as this one numbers it; `None` when it has gone, or has none.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    let stat = proc_files::read(pid, "stat").ok()??;
    stat_field(&stat, 4).filter(|parent| *parent > 0)
}

/// How many clock ticks (proc(5), `USER_HZ`: 100 on every architecture that lacre knows) the
/// machine has been up, as [`Process::began`] counts.
#[must_use]
pub fn ticks() -> u64 {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(since.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(since.tv_nsec).unwrap_or_default();
    seconds * 100 + nanos / 10_000_000
}

/// Field 22 of `/proc/PID/stat`. Of its state there nothing follows: it is that of the first
/// thread, which may be a zombie while others run on.
fn began(pid: u32) -> Option<u64> {
    start(pid).ok()?
}

/// The same; an error where it can't be read, though it may be there.
fn start(pid: u32) -> io::Result<Option<u64>> {
    Ok(proc_files::read(pid, "stat")?.and_then(|stat| stat_field(&stat, 22)))
}

/// The shims of that program that were started for a container of a daemon, by its address.
/// Another daemon of the node may have a container of the same name.
#[must_use]
pub fn find(program: &Path, namespace: &str, id: &str, daemon: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pairs = [["-namespace", namespace], ["-id", id]];
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != std::process::id() && runs(*pid, program))
        // Of who has another program nothing is read: reading a command line may have to wait
        // for whose it is.
        .filter(|pid| {
            let line = proc_files::read(*pid, "cmdline").ok().flatten();
            line.is_some_and(|line| holds(&line, &pairs) && !is_of_another(&line, daemon))
        })
        .filter_map(Process::by_pid)
        .collect()
}

/// Whether a process runs that very file, and not one of its name in some container; or the one
/// that had its name before, on this node.
fn runs(pid: u32, program: &Path) -> bool {
    let its = proc_files::program(pid);
    if its.is_some() && its == proc_files::place(program) {
        return true;
    }
    let Ok(program) = fs::canonicalize(program) else { return false };
    let mut replaced = program.into_os_string();
    replaced.push(" (deleted)");
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.as_os_str() == replaced)
        && proc_files::root(pid) == proc_files::root(std::process::id())
}

fn holds(line: &[u8], pairs: &[[&str; 2]]) -> bool {
    pairs
        .iter()
        .all(|[flag, value]| value_of(line, flag).is_some_and(|its| its == value.as_bytes()))
}

/// Whether a command line names another daemon. One that names none may be any's.
fn is_of_another(line: &[u8], daemon: &Path) -> bool {
    let its = value_of(line, "-address").map(|its| Path::new(OsStr::from_bytes(its)));
    daemon.is_absolute() && its.is_some_and(|its| its.is_absolute() && its != daemon)
}

fn value_of<'a>(line: &'a [u8], flag: &str) -> Option<&'a [u8]> {
    let mut arguments = line.split(|byte| *byte == 0);
    arguments.find(|argument| *argument == flag.as_bytes())?;
    arguments.next()
}

/// Makes processes that their parents leave behind children of this one, for as long as it
/// lives, instead of containerd's.
pub fn adopt_orphans() {
    // Without it `only_child` finds nobody.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// The one child of this thread; `None` if there is none or there are several, or the kernel
/// does not list them (proc(5), `/proc/PID/task/TID/children`).
#[must_use]
pub fn only_child() -> Option<Process> {
    let children = fs::read_to_string("/proc/thread-self/children").ok()?;
    let mut children = children.split_ascii_whitespace();
    let only = children.next().filter(|_| children.next().is_none());
    Process::by_pid(only?.parse().ok()?)
}

/// The named unix sockets that a process listens on.
#[must_use]
pub fn listens_on(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let open: Vec<String> = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.into()))
        .collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table
        .lines()
        .filter_map(listener)
        .filter(|(inode, _)| open.iter().any(|o| o == inode))
        .map(|(_, path)| path.into())
        .collect()
}

/// Inode and path of a line of `/proc/net/unix`, if it is a named socket that listens:
/// `num: refcount protocol flags type state inode path`, where flag 0x10000 is
/// `__SO_ACCEPTCON` (proc(5), linux/net.h).
fn listener(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let inode = fields.nth(2)?;
    // A path may hold spaces: it is the rest of the line.
    let path = &line[line.find(" /")? + 1..];
    (flags & 0x1_0000 != 0).then_some((inode, path))
}

/// Makes the kernel prefer this process over containerd, which it was born from, and its
/// containers over it, when memory is short: as containerd's own shims do.
///
/// # Errors
/// When `/proc` does not let it.
pub fn give_way_to_parent() -> io::Result<()> {
    let path = "/proc/self/oom_score_adj";
    let score: i32 = fs::read_to_string(path)?.trim().parse().map_err(io::Error::other)?;
    if score < 1000 { fs::write(path, (score + 1).to_string()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_one_who_later_has_the_number_is_not_killed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::by_pid(child.id()).unwrap();
        let earlier = Process { began: process.began - 1, ..process };
        assert!(earlier.kill(Duration::ZERO), "gone long since");
        assert!(process.is_alive());
        assert!(!process.wait(Duration::ZERO));
        assert!(process.kill(Duration::from_secs(10)));
        assert!(!process.is_alive());
        child.wait().unwrap();
    }

    /// A killed process of many threads is for a while without its first.
    #[test]
    fn a_process_has_gone_with_its_last_thread() {
        const SOURCE: &str = "
            #include <pthread.h>
            #include <unistd.h>
            static void *last(void *none) { char byte; read(0, &byte, 1); return none; }
            int main(void) { pthread_t thread; pthread_create(&thread, 0, last, 0); pthread_exit(0); }
        ";
        let dir = tempfile::tempdir().unwrap();
        let (source, program) = (dir.path().join("last.c"), dir.path().join("last"));
        fs::write(&source, SOURCE).unwrap();
        let cc =
            Command::new("cc").args(["-pthread", "-w", "-o"]).args([&program, &source]).status();
        assert!(cc.unwrap().success());
        let mut child = Command::new(&program).stdin(Stdio::piped()).spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {}
        let process = Process::by_pid(child.id()).unwrap();
        assert!(process.is_alive());
        assert!(!process.wait(Duration::ZERO));
        assert!(process.kill(Duration::from_secs(10)));
        assert!(!process.is_alive());
        child.wait().unwrap();
        assert_eq!(Process::by_pid(child.id()), None);
    }

    #[test]
    fn its_listening_sockets_are_told_from_its_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let _other = std::os::unix::net::UnixDatagram::bind(dir.path().join("c")).unwrap();
        let mine: Vec<_> = listens_on(std::process::id())
            .into_iter()
            .filter(|socket| socket.starts_with(dir.path()))
            .collect();
        assert_eq!(mine, [path]);
    }

    /// A shell takes any arguments after its script.
    fn shim(program: &Path, daemon: &str) -> std::process::Child {
        let words = ["-c", "read wait", "-namespace", "n", "-id", "c"];
        let mut command = Command::new(program);
        command.args(words).args(["-address", daemon]).stdin(Stdio::piped());
        let child = command.spawn().unwrap();
        // The program is another as soon as it is executed, the arguments a moment after.
        let line = format!("/proc/{}/cmdline", child.id());
        while !fs::read(&line).unwrap().ends_with(format!("\0{daemon}\0").as_bytes()) {}
        child
    }

    #[test]
    fn a_shim_is_found_by_its_file_and_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let [program, other] = ["shim", "other"].map(|name| dir.path().join(name));
        let bash = fs::canonicalize("/bin/sh").unwrap();
        fs::copy(&bash, &program).unwrap();
        fs::copy(&bash, &other).unwrap();
        let mut all = [
            shim(&program, "/run/a.sock"),
            shim(&program, "/run/b.sock"),
            // Another file, as one of the same name in a container is.
            shim(&other, "/run/a.sock"),
        ];
        let [first, second, _] = [0, 1, 2].map(|at: usize| all[at].id());
        let found = |id: &str, daemon: &str| -> Vec<u32> {
            let found = find(&program, "n", id, Path::new(daemon));
            let mut pids: Vec<_> = found.iter().map(|process| process.pid).collect();
            pids.sort_unstable();
            pids
        };
        let mut both = vec![first, second];
        both.sort_unstable();
        let seen = [
            found("c", "/run/a.sock"),
            found("c", "/run/b.sock"),
            found("c", ""),
            found("d", "/run/a.sock"),
        ];
        // As by an upgrade of its package.
        fs::remove_file(&program).unwrap();
        fs::copy(&bash, &program).unwrap();
        let upgraded = found("c", "/run/a.sock");
        for child in &mut all {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(seen, [vec![first], vec![second], both, vec![]]);
        assert_eq!(upgraded, [first]);
    }
}
