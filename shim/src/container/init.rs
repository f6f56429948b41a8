//! A container's first process: held from the moment Create was answered, and proven to be
//! that before anything is armed on it or aimed at it.
//!
//! A number alone is nobody: the process may have ended, and another have its number; and the
//! shim may name one that is no process of the container, as one does whose containers are
//! virtual machines.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::node::cgroup;
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::{self, Process};

/// Why a process can't be taken for a container's first.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The inner shim names none.
    #[error(
        "the inner shim names no process: a container that is restored from a checkpoint has \
         none until it is started"
    )]
    None,
    /// It can't be held.
    #[error("holding process {0}, which the inner shim names")]
    Hold(u32, #[source] io::Error),
    /// It has ended.
    #[error("process {0}, which the inner shim named, has ended")]
    Ended(u32),
    /// It is not the container's.
    #[error(
        "process {pid}, which the inner shim names, is not proven to be the container's first: \
         {why}; lacre guards containers whose processes the host's kernel sees (runc, crun, youki)"
    )]
    Unproven {
        /// Which.
        pid: u32,
        /// What does not fit.
        why: String,
    },
}

/// The process that the inner shim named, held so that its number can't come to mean another.
#[derive(Debug)]
pub struct Candidate {
    process: Process,
    fd: OwnedFd,
}

impl Candidate {
    /// Holds it. To be called as soon as the inner shim has answered.
    ///
    /// # Errors
    /// When there is none.
    pub fn hold(pid: u32) -> Result<Self, InitError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(InitError::None)?;
        let fd = pidfd_open(raw, PidfdFlags::empty());
        let fd = fd.map_err(|error| InitError::Hold(pid, error.into()))?;
        // After the descriptor was had: what has begun by then is what it stands for.
        let process = Process::by_pid(pid).ok_or(InitError::Ended(pid))?;
        Ok(Self { process, fd })
    }

    fn lives(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&Timespec::default())) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return ready == Ok(0),
            }
        }
    }

    /// Whether it is the first process of the container that is described.
    ///
    /// # Errors
    /// What does not fit.
    pub fn prove(self, expected: &Expected<'_>) -> Result<Init, InitError> {
        let pid = self.process.pid;
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let found = expected.check(self.process, &proc);
        let cgroups = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
        let cgroups = cgroup::without_those_of(&cgroups, expected.inner);
        let pid_namespace = PidNamespace::of(pid);
        // It lived all the while: what was read there was its own.
        if !self.lives() {
            return Err(InitError::Ended(pid));
        }
        found.map_err(|why| InitError::Unproven { pid, why })?;
        Ok(Init { process: self.process, fd: self.fd, cgroups, pid_namespace })
    }
}

/// What a container's first process is told by. Two containers may have one root, so that it
/// alone proves nothing.
#[derive(Debug)]
pub struct Expected<'a> {
    /// The container's root, as the host reaches it.
    pub root: &'a Path,
    /// The bundle, whose `config.json` names the cgroup.
    pub bundle: &'a Path,
    /// The inner shim, whose child it is, or a child's of that.
    pub inner: Option<Process>,
    /// When Create was asked for, in clock ticks after boot.
    pub asked: u64,
}

impl Expected<'_> {
    fn check(&self, process: Process, proc: &Path) -> Result<(), String> {
        if process.began < self.asked {
            return Err("it began before the container was asked for".to_owned());
        }
        let place = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        let own = place(&proc.join("root")).map_err(|why| format!("its root: {why}"))?;
        let root = place(self.root).map_err(|why| format!("{}: {why}", self.root.display()))?;
        if own != root {
            return Err(format!("its root is not {}", self.root.display()));
        }
        if let Some(inner) = self.inner {
            let parent = process::parent(process.pid);
            let above = parent.and_then(process::parent);
            if ![parent, above].contains(&Some(inner.pid)) {
                return Err(format!("it is no child of the inner shim, process {}", inner.pid));
            }
        }
        let cgroups = fs::read_to_string(proc.join("cgroup"));
        let cgroups = cgroups.map_err(|why| format!("its cgroups: {why}"))?;
        if !cgroup::is_of(self.bundle, &cgroups, self.inner) {
            return Err("it is in another cgroup than config.json says".to_owned());
        }
        Ok(())
    }
}

/// The first process of a container: the only value from which a source is armed, or an
/// action aimed. Only [`Candidate::prove`] makes one.
#[derive(Debug)]
pub struct Init {
    process: Process,
    fd: OwnedFd,
    cgroups: String,
    pid_namespace: Option<PidNamespace>,
}

impl Init {
    /// Which one it is.
    #[must_use]
    pub const fn process(&self) -> Process {
        self.process
    }

    /// What stands for it, readable once it has ended.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Its cgroups that the inner shim is not in, as `/proc/PID/cgroup` has them.
    #[must_use]
    pub fn cgroups(&self) -> &str {
        &self.cgroups
    }

    /// Its pid namespace.
    #[must_use]
    pub const fn pid_namespace(&self) -> Option<PidNamespace> {
        self.pid_namespace
    }
}

/// Whether the process has that root: its number may be another's by now.
pub(crate) fn has_root(pid: u32, root: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let its = place(Path::new(&format!("/proc/{pid}/root")));
    its.is_some() && its == place(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Rig {
        bundle: tempfile::TempDir,
        child: Child,
        asked: u64,
    }

    impl Rig {
        /// A process of this one, with this one's root and no cgroup of its own.
        fn new() -> Self {
            let asked = process::ticks();
            let child = Command::new("sleep").arg("1000").spawn().unwrap();
            Self { bundle: tempfile::tempdir().unwrap(), child, asked }
        }

        fn expected(&self) -> Expected<'_> {
            let (root, bundle) = (Path::new("/"), self.bundle.path());
            Expected { root, bundle, inner: Process::own(), asked: self.asked }
        }

        fn held(&self) -> Candidate {
            Candidate::hold(self.child.id()).unwrap()
        }

        #[track_caller]
        fn refused(&self, expected: &Expected<'_>, why: &str) {
            let error = self.held().prove(expected).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn a_child_of_the_shim_with_the_containers_root_is_proven() {
        let rig = Rig::new();
        let init = rig.held().prove(&rig.expected()).unwrap();
        assert_eq!(init.process().pid, rig.child.id());
        assert_eq!(init.cgroups(), "", "those of this process, which stands for the shim");
    }

    #[test]
    fn another_root_is_another_containers() {
        let rig = Rig::new();
        // A virtual machine's monitor has the host's root, and the container has not.
        rig.refused(&Expected { root: rig.bundle.path(), ..rig.expected() }, "its root is not");
        let gone = rig.bundle.path().join("gone");
        rig.refused(&Expected { root: &gone, ..rig.expected() }, "No such file");
    }

    #[test]
    fn who_was_there_before_create_is_no_init_of_it() {
        let rig = Rig::new();
        let asked = Process::by_pid(rig.child.id()).unwrap().began + 1;
        rig.refused(&Expected { asked, ..rig.expected() }, "before the container was asked for");
    }

    #[test]
    fn a_strangers_child_is_no_init() {
        let rig = Rig::new();
        let other = Rig::new();
        let inner = Process::by_pid(other.child.id());
        rig.refused(&Expected { inner, ..rig.expected() }, "no child of the inner shim");
    }

    #[test]
    fn another_cgroup_is_another_containers() {
        let rig = Rig::new();
        let spec = serde_json::json!({"linux": {"cgroupsPath": "/lacre-test/no-such"}});
        fs::write(rig.bundle.path().join("config.json"), spec.to_string()).unwrap();
        // It has no cgroup of its own, which runc allows where it can make none.
        rig.held().prove(&rig.expected()).unwrap();
        let elsewhere = cgroup::tests::InCgroup::new("init", rig.child.id());
        rig.refused(&rig.expected(), "another cgroup");
        let spec = serde_json::json!({"linux": {"cgroupsPath": elsewhere.path()}});
        fs::write(rig.bundle.path().join("config.json"), spec.to_string()).unwrap();
        rig.held().prove(&rig.expected()).unwrap();
    }

    /// Between the inner shim's answer and the proof, as while a baseline is being made.
    #[test]
    fn one_that_ends_meanwhile_is_not_taken_for_who_gets_its_number() {
        let mut rig = Rig::new();
        let held = rig.held();
        rig.child.kill().unwrap();
        rig.child.wait().unwrap();
        let error = held.prove(&rig.expected()).unwrap_err();
        assert!(matches!(error, InitError::Ended(_)), "{error}");
        assert!(matches!(Candidate::hold(rig.child.id()), Err(InitError::Hold(..))));
        assert!(matches!(Candidate::hold(0), Err(InitError::None)));
    }
}
