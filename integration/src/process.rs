//! Processes, as `/proc` tells of them.

use std::fs;
use std::path::{Path, PathBuf};

use lacre_types::proc_pid::status_field;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process at the moment it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id in the machine's own PID namespace.
    pub pid: i32,
    /// Its arguments, the first of them its name.
    pub arguments: Vec<String>,
}

impl Process {
    /// Every process that has arguments: no kernel thread, no zombie.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Self::by_pid)
            .collect()
    }

    /// The process `pid`, if it lives.
    #[must_use]
    pub fn by_pid(pid: i32) -> Option<Self> {
        let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let text = String::from_utf8_lossy(&raw);
        let arguments: Vec<_> = text.trim_end_matches('\0').split('\0').map(String::from).collect();
        (!raw.is_empty()).then_some(Self { pid, arguments })
    }

    /// The last part of the name it was started by.
    #[must_use]
    pub fn name(&self) -> &str {
        let first = self.arguments.first().map_or("", String::as_str);
        Path::new(first).file_name().and_then(|name| name.to_str()).unwrap_or(first)
    }

    /// The argument after `flag`.
    #[must_use]
    pub fn value_of(&self, flag: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == flag)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// What its namespace of kind `kind` (`mnt`, `net`…) is called.
    #[must_use]
    pub fn namespace(&self, kind: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok()
    }

    /// Its lines of `/proc/PID/cgroup`.
    #[must_use]
    pub fn cgroups(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default()
    }

    /// Its `VmRSS`, in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        let status = fs::read(format!("/proc/{}/status", self.pid)).ok()?;
        status_field(&status, "VmRSS")?.next()?.parse().ok()
    }

    /// Sends `signal`; a process that has gone is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
    }
}

/// Whether a thread of `pid` is there that is no zombie: the first may end before the others.
#[must_use]
pub fn alive(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name in brackets may itself hold anything: the state follows the last bracket.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}
