//! Whose process it is that opens a file.
//!
//! A violation is the container's whose process opens, whoever's file it is. Where the
//! container has a pid namespace of its own, that tells, and no process can leave one:
//! not by another namespace, nor by another cgroup or parent. Where it shares the node's,
//! or another container's, the mount namespace and the cgroup tell, and who is in neither
//! is somebody else. What can't be told is the container's.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use lacre_sys::namespace;
use rustix::fs::CWD;

/// The deepest that the kernel nests pid namespaces (linux/pid_namespace.h).
const DEEPEST: usize = 32;

/// The longest `/proc/PID/cgroup` that is read: 13 hierarchies with paths of `PATH_MAX`.
const CGROUPS: u64 = 64 << 10;

/// Whether a process is of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// It is.
    Surely,
    /// Unless another container says so more surely.
    Perhaps,
    /// It is somebody else's.
    No,
}

/// What the processes of a container have in common.
#[derive(Debug)]
pub(super) struct Member {
    mounts: Vec<u8>,
    /// Our own: who shares it is not of the container.
    home: Vec<u8>,
    pids: Pids,
    /// Where its init is, by hierarchy, where that is not where we are ourselves.
    cgroups: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
enum Pids {
    /// A pid namespace whose first process is the container's init.
    Own(Vec<u8>),
    /// Another container's, or one that somebody else made for it.
    Joined(Vec<u8>),
    /// The one that we are in.
    Ours,
}

impl Member {
    /// Of the container that a process is the init of.
    pub(super) fn of(init: u32) -> io::Result<Self> {
        let pids = link(init, "ns/pid")?;
        let pids = if pids == link("self", "ns/pid")? {
            Pids::Ours
        } else if is_first(init) {
            Pids::Own(pids)
        } else {
            Pids::Joined(pids)
        };
        let own = cgroups("self")?;
        let mut cgroups = cgroups(init)?;
        cgroups.retain(|at| !at.1.is_empty() && !own.contains(at));
        Ok(Self { mounts: link(init, "ns/mnt")?, home: link("self", "ns/mnt")?, pids, cgroups })
    }

    /// Whether the container has no mount namespace of its own.
    pub(super) fn is_at_home(&self) -> bool {
        self.mounts == self.home
    }

    /// Whether the process is the container's; 0 is one that our pid namespace does not have.
    pub(super) fn has(&self, pid: u32) -> Belongs {
        if pid == 0 {
            return Belongs::No;
        }
        // One that is gone waits for no answer.
        let Ok(mounts) = link(pid, "ns/mnt") else { return Belongs::Perhaps };
        if mounts == self.mounts {
            return Belongs::Surely;
        }
        match &self.pids {
            Pids::Own(own) if is_below(pid, own) => match self.by_cgroup(pid) {
                Belongs::Surely => Belongs::Surely,
                // It may have moved itself out.
                Belongs::Perhaps | Belongs::No => Belongs::Perhaps,
            },
            Pids::Joined(joined) if is_below(pid, joined) => self.by_cgroup(pid),
            Pids::Ours if mounts != self.home => self.by_cgroup(pid),
            Pids::Own(_) | Pids::Joined(_) | Pids::Ours => Belongs::No,
        }
    }

    fn by_cgroup(&self, pid: u32) -> Belongs {
        let Ok(its) = cgroups(pid) else { return Belongs::Perhaps };
        let below = |(hierarchy, own): &(Vec<u8>, Vec<u8>)| {
            its.iter().any(|(of, path)| {
                of == hierarchy
                    && path.strip_prefix(&own[..]).is_some_and(|r| r.is_empty() || r[0] == b'/')
            })
        };
        if self.cgroups.is_empty() {
            Belongs::Perhaps
        } else if self.cgroups.iter().any(below) {
            Belongs::Surely
        } else {
            Belongs::No
        }
    }
}

/// What a link of a process's folder in /proc says.
pub(super) fn link(pid: impl std::fmt::Display, what: &str) -> rustix::io::Result<Vec<u8>> {
    rustix::fs::readlinkat(CWD, format!("/proc/{pid}/{what}"), Vec::new())
        .map(std::ffi::CString::into_bytes)
}

/// Whether the process is the first of its pid namespace.
fn is_first(pid: u32) -> bool {
    let status = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"NSpid:"));
    line.is_some_and(|line| line.ends_with(b"\t1"))
}

/// Whether the process is in that pid namespace, or in one that was made below it. One that
/// can't be asked is.
fn is_below(pid: u32, wanted: &[u8]) -> bool {
    let Ok(own) = File::open(format!("/proc/{pid}/ns/pid")) else { return true };
    let mut at = OwnedFd::from(own);
    for _ in 0..=DEEPEST {
        if number(&at).as_deref() == Some(wanted) {
            return true;
        }
        match namespace::parent(at.as_fd()) {
            Ok(above) => at = above,
            Err(_) => return false,
        }
    }
    false
}

/// A namespace's name, as the links of /proc have it.
fn number(namespace: &OwnedFd) -> Option<Vec<u8>> {
    Some(format!("pid:[{}]", rustix::fs::fstat(namespace).ok()?.st_ino).into_bytes())
}

/// The cgroups of a process: hierarchy (its number and controllers) and path; the root's
/// path is empty.
fn cgroups(pid: impl std::fmt::Display) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cgroup"))?.take(CGROUPS).read_to_end(&mut bytes)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let at = colon + 1 + line.get(colon + 1..)?.iter().position(|byte| *byte == b':')?;
            let path = line.get(at + 1..)?;
            let path = path.strip_suffix(b"/").unwrap_or(path);
            Some((line.get(..at)?.to_vec(), path.to_vec()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// Started as its own, and ready; ends with its standard input.
    struct Started(Child);

    impl Started {
        fn by(command: &[&str]) -> Self {
            let mut child = Command::new(command[0])
                .args(&command[1..])
                .args(["sh", "-c", "echo; read never"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            Self(child)
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }

        /// The only child: `unshare -f` stays outside.
        fn child(&self) -> u32 {
            let pid = self.pid();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.unwrap().trim().parse().unwrap()
        }
    }

    impl Drop for Started {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    #[test]
    fn who_is_in_its_pid_namespace_cannot_leave_and_nobody_else_is_in() {
        let container = Started::by(&["unshare", "-mpf"]);
        let it = Member::of(container.child()).unwrap();
        assert!(matches!(it.pids, Pids::Own(_)));
        let target = container.child().to_string();
        let entered = Started::by(&["nsenter", "-t", &target, "-p"]);
        // Another mount namespace, and a pid namespace nested in the container's.
        let nested = Started::by(&["nsenter", "-t", &target, "-p", "unshare", "-mpf"]);
        let nested_child = {
            let entered = nested.child();
            let children = format!("/proc/{entered}/task/{entered}/children");
            std::fs::read_to_string(children).unwrap().trim().parse().unwrap()
        };
        let joined_mounts = Started::by(&["nsenter", "-t", &target, "-m"]);
        for pid in [container.child(), joined_mounts.pid()] {
            assert_eq!(it.has(pid), Belongs::Surely);
        }
        for pid in [entered.child(), nested_child] {
            assert_eq!(it.has(pid), Belongs::Perhaps);
        }
        let scanner = Started::by(&["unshare", "-mpf"]);
        let service = Started::by(&["unshare", "-m"]);
        for pid in [std::process::id(), 0, scanner.child(), service.pid()] {
            assert_eq!(it.has(pid), Belongs::No);
        }
    }

    #[test]
    fn where_nothing_tells_it_is_the_containers() {
        // The node's pid namespace, and our own cgroup.
        let container = Started::by(&["unshare", "-m"]);
        let it = Member::of(container.pid()).unwrap();
        assert!(matches!(it.pids, Pids::Ours) && it.cgroups.is_empty());
        let other = Started::by(&["unshare", "-m"]);
        assert_eq!(it.has(other.pid()), Belongs::Perhaps);
        assert_eq!(it.has(std::process::id()), Belongs::No);
    }

    #[test]
    fn in_a_pid_namespace_that_it_shares_the_cgroup_tells() {
        let container = Started::by(&["unshare", "-m"]);
        let other = Started::by(&["unshare", "-m"]);
        let mut it = Member::of(container.pid()).unwrap();
        let own = cgroups("self").unwrap();
        let (hierarchy, path) = own.first().unwrap().clone();
        it.cgroups = vec![(hierarchy.clone(), path.clone())];
        assert_eq!(it.has(other.pid()), Belongs::Surely);
        it.cgroups = vec![(hierarchy, [&path[..], b"/x"].concat())];
        assert_eq!(it.has(other.pid()), Belongs::No);
    }
}
