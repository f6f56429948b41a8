//! Which processes are a container's, proven by what they can't shed.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::Signal;

use crate::cgroup::{Cgroup, CgroupError};
use crate::freezer::wait;
use crate::proc_facts::{Facts, all, hold, mount_namespace, namespace, root, send};

/// What an action is aimed at: the processes that are proven to be one container's, never
/// whatever is in a cgroup.
///
/// A process is the container's when something says so that it can't shed and another can't
/// share: it is in the pid namespace that begins with the container's init, and entered it
/// from the container; or, where the pid namespace is the node's or another container's, it
/// descends from the init, or has its mount namespace. That the cgroup holds nobody else is
/// looked at each time, before anything is done to the cgroup as a whole.
#[derive(Debug)]
pub struct Target {
    init: Init,
    cgroup: Result<Arc<Cgroup>, CgroupError>,
    /// The container's mount namespace, while it is being ended. Once a namespace has ended, the
    /// kernel gives its number to the next one, which is another's.
    mounts: Mutex<Option<File>>,
}

/// A container's init, held so that its number can't come to mean another process.
#[derive(Debug)]
pub(crate) struct Init {
    pid: u32,
    fd: OwnedFd,
    facts: Facts,
    root: Option<(u64, u64)>,
    /// Whether it is the first of a pid namespace, whose end takes all in it with it.
    first: bool,
    /// Whether its mount namespace is not the node's.
    own_mounts: bool,
    /// Its parent: the inner shim, to which the kernel gives whoever loses a parent.
    shim: Option<(u32, OwnedFd)>,
}

/// A process that is held.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) fd: OwnedFd,
}

/// Who is in a container and in its cgroup.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The container's.
    pub(crate) ours: Vec<Member>,
    /// What the inner shim has just put into the cgroup, and not yet into the container.
    pub(crate) entering: Vec<Member>,
    /// In the cgroup, and another's.
    pub(crate) strangers: Vec<u32>,
    /// In the cgroup, and perhaps another's: nothing that can be had tells.
    pub(crate) unknown: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Entering,
    Strange,
    Unknown,
}

/// More than the depth of any real tree of processes.
const HOPS: usize = 4096;

impl Target {
    /// Holds a container by its init. Ask between Create and Start: its parent is then the
    /// inner shim, and its cgroup the one that the container was given.
    ///
    /// # Errors
    /// When there is no such process. A cgroup that can't be acted on is none: PAUSE says so,
    /// and the other actions do without.
    pub fn hold(init_pid: u32) -> io::Result<Self> {
        let init = Init::hold(init_pid)?;
        Ok(Self { init, cgroup: Cgroup::of(init_pid).map(Arc::new), mounts: Mutex::default() })
    }

    /// Keeps the number of its mount namespace from becoming another's, until
    /// [`Self::let_go`]: not for longer than it takes to end it, since what is mounted there
    /// stays mounted.
    pub(crate) fn keep_mounts(&self) {
        if self.init.first || !self.init.own_mounts {
            return;
        }
        let mut kept = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            let found = mount_namespace(self.init.pid).filter(|found| {
                found.metadata().is_ok_and(|its| Some(its.ino()) == self.init.facts.mounts)
            });
            *kept = found.filter(|_| !self.init.ended().unwrap_or(true));
        }
    }

    pub(crate) fn let_go(&self) {
        *self.mounts.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the number of its mount namespace, as it was read just now, is not another's by
    /// now: the namespace is kept, or the init is still in it.
    fn mounts_stand(&self) -> bool {
        let kept = self.mounts.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        kept || Facts::of(self.init.pid).is_some_and(|now| now.mounts == self.init.facts.mounts)
            && !self.init.ended().unwrap_or(true)
    }

    pub(crate) const fn init(&self) -> &Init {
        &self.init
    }

    pub(crate) const fn cgroup(&self) -> Result<&Arc<Cgroup>, &CgroupError> {
        self.cgroup.as_ref()
    }

    /// Whether nobody of the container can be missed by [`Self::look`]: its pid namespace or
    /// its mount namespace tells it from the node.
    pub(crate) const fn is_told_apart(&self) -> bool {
        self.init.first || self.cgroup.is_ok() || self.init.own_mounts
    }

    /// Who is in its cgroup, and beneath it.
    pub(crate) fn look(&self) -> Look {
        self.sort(self.in_cgroup(), &[])
    }

    /// The same, and who of the container has left the cgroup. All of `/proc` is read.
    pub(crate) fn look_everywhere(&self) -> Look {
        let inside = self.in_cgroup();
        let outside: Vec<_> = all().into_iter().filter(|pid| !inside.contains(pid)).collect();
        self.sort(inside, &outside)
    }

    /// The processes of the container that are left, wherever they went; none: it has ended.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut pids: Vec<_> = self.look_everywhere().ours.iter().map(|one| one.pid).collect();
        if !self.init.ended().unwrap_or(false) && !pids.contains(&self.init.pid) {
            pids.push(self.init.pid);
        }
        pids
    }

    fn in_cgroup(&self) -> Vec<u32> {
        // Of what can't be read nobody can be told of.
        let tree = self.cgroup.as_ref().ok().and_then(|cgroup| cgroup.tree().ok());
        tree.map(|tree| tree.processes().pids).unwrap_or_default()
    }

    fn sort(&self, inside: Vec<u32>, outside: &[u32]) -> Look {
        let mut look = Look::default();
        let all = inside.into_iter().map(|pid| (pid, true));
        for (pid, inside) in all.chain(outside.iter().map(|&pid| (pid, false))) {
            // Held first: what is then found out is of the one that is held, if it still lives.
            let Ok(fd) = hold(pid) else { continue };
            let whose = self.whose(pid, inside);
            if wait(&fd, PollFlags::IN, Duration::ZERO).unwrap_or(true) {
                continue;
            }
            match whose {
                Some(Whose::Ours) => look.ours.push(Member { pid, fd }),
                Some(Whose::Entering) if inside => look.entering.push(Member { pid, fd }),
                Some(Whose::Strange) if inside => look.strangers.push(pid),
                Some(Whose::Unknown) | None if inside => look.unknown.push(pid),
                _ => {}
            }
        }
        look
    }

    /// `None`: an ancestor went while it was looked at.
    fn whose(&self, pid: u32, inside: bool) -> Option<Whose> {
        // A parent that ends while its children are asked for it is replaced by another.
        (0..3).find_map(|_| self.whose_now(pid, inside))
    }

    fn whose_now(&self, pid: u32, inside: bool) -> Option<Whose> {
        if pid == self.init.pid {
            return Some(Whose::Ours);
        }
        if pid == std::process::id() {
            return Some(Whose::Strange);
        }
        if self.init.first { self.by_namespace(pid) } else { self.by_descent(pid, inside) }
    }

    /// Where the container has a pid namespace of its own, which nobody in it can leave.
    fn by_namespace(&self, pid: u32) -> Option<Whose> {
        let mut entered: Option<Facts> = None;
        let mut at = pid;
        for _ in 0..HOPS {
            if at == self.init.pid {
                return Some(Whose::Ours);
            }
            let within = if at == 0 { None } else { Some(Facts::of(at)?) }.filter(|facts| {
                // Beneath the container's, its first process descends from the container's.
                facts.depth > self.init.facts.depth
                    || facts.depth == self.init.facts.depth
                        && facts.pid_namespace == self.init.facts.pid_namespace
            });
            let Some(facts) = within else {
                return match entered {
                    // By the inner shim (`exec`), into all of the container's namespaces.
                    Some(first) if self.has_mounts(&first) => Some(Whose::Ours),
                    // Another container that shares the pid namespace, or one of ours that
                    // has made itself another mount namespace.
                    Some(_) => Some(Whose::Unknown),
                    None => self.outside(pid),
                };
            };
            entered = Some(facts);
            at = facts.parent;
        }
        Some(Whose::Unknown)
    }

    /// Who ends with the init, as the kernel has it: its pid namespace, and those beneath it.
    /// All of `/proc` is read.
    pub(crate) fn who_ends_with_init(&self) -> Vec<Member> {
        if !self.init.first {
            return Vec::new();
        }
        let held = all().into_iter().filter_map(|pid| Some(Member { pid, fd: hold(pid).ok()? }));
        held.filter(|member| self.ends_with_init(member.pid).unwrap_or(false)).collect()
    }

    fn ends_with_init(&self, pid: u32) -> Option<bool> {
        let mut at = pid;
        for _ in 0..HOPS {
            let facts = Facts::of(at)?;
            if facts.depth <= self.init.facts.depth {
                return Some(facts.pid_namespace == self.init.facts.pid_namespace);
            }
            at = facts.parent;
        }
        None
    }

    fn outside(&self, pid: u32) -> Option<Whose> {
        let entering = self.is_of_the_node(pid)? && self.descends_from_shim(pid)? == Some(true);
        Some(if entering { Whose::Entering } else { Whose::Strange })
    }

    /// Where the pid namespace is the node's, or another container's.
    fn by_descent(&self, pid: u32, inside: bool) -> Option<Whose> {
        let mut at = pid;
        for _ in 0..HOPS {
            if at == self.init.pid {
                return Some(Whose::Ours);
            }
            if at == 0 || self.init.shim.as_ref().is_some_and(|(shim, _)| *shim == at) {
                break;
            }
            let facts = Facts::of(at)?;
            // The number alone does not tell once the namespace may have ended.
            if self.init.own_mounts
                && self.has_mounts(&facts)
                && (self.mounts_stand() || inside || self.has_root_of_its_own(at))
            {
                return Some(Whose::Ours);
            }
            at = facts.parent;
        }
        Some(match self.descends_from_shim(pid)? {
            Some(true) if self.is_of_the_node(pid)? => Whose::Entering,
            // Its root, its cgroup and its inner shim are three things to have in common.
            Some(true) if inside && self.has_root(pid) => Whose::Ours,
            Some(false) => Whose::Strange,
            Some(true) | None => Whose::Unknown,
        })
    }

    fn has_mounts(&self, facts: &Facts) -> bool {
        facts.mounts.is_some() && facts.mounts == self.init.facts.mounts
    }

    fn has_root(&self, pid: u32) -> bool {
        self.init.root.is_some() && root(pid) == self.init.root
    }

    /// A root that a process of the node has not.
    fn has_root_of_its_own(&self, pid: u32) -> bool {
        self.has_root(pid) && self.init.root != root(std::process::id())
    }

    fn is_of_the_node(&self, pid: u32) -> Option<bool> {
        Some(Facts::of(pid)?.mounts? == namespace(std::process::id(), "mnt")?)
    }

    /// `Some(None)`: the inner shim has ended, so that nobody descends from it any more.
    #[allow(clippy::option_option, reason = "the outer one is a process that went meanwhile")]
    fn descends_from_shim(&self, pid: u32) -> Option<Option<bool>> {
        let Some((shim, fd)) = &self.init.shim else { return Some(None) };
        if wait(fd, PollFlags::IN, Duration::ZERO).unwrap_or(true) {
            return Some(None);
        }
        let mut at = pid;
        for _ in 0..HOPS {
            if at == *shim {
                return Some(Some(true));
            }
            if at <= 1 {
                return Some(Some(false));
            }
            at = Facts::of(at)?.parent;
        }
        Some(None)
    }
}

impl Look {
    /// Whether the cgroup is the container's alone.
    pub(crate) const fn is_alone(&self) -> bool {
        self.strangers.is_empty() && self.unknown.is_empty()
    }

    pub(crate) const fn is_any_ours(&self) -> bool {
        !self.ours.is_empty()
    }

    /// Those who are not known to be the container's.
    pub(crate) fn others(&self) -> Vec<u32> {
        self.strangers.iter().chain(&self.unknown).copied().collect()
    }
}

impl Init {
    fn hold(pid: u32) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended"));
        let fd = hold(pid)?;
        let facts = Facts::of(pid).ok_or_else(gone)?;
        let own = |name| namespace(std::process::id(), name);
        let shim = Some(facts.parent).filter(|&parent| parent > 1);
        let init = Self {
            root: root(pid),
            first: facts.own_number == 1
                && facts.pid_namespace.is_some()
                && facts.pid_namespace != own("pid"),
            own_mounts: facts.mounts.is_some() && facts.mounts != own("mnt"),
            shim: shim.and_then(|shim| Some((shim, hold(shim).ok()?))),
            pid,
            fd,
            facts,
        };
        // Still there: so all that was read is of the one that is held.
        if init.ended()? { Err(gone()) } else { Ok(init) }
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) const fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether its end takes with it whoever is in its pid namespace.
    pub(crate) const fn is_first(&self) -> bool {
        self.first
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        send(&self.fd, signal)
    }

    pub(crate) fn ended(&self) -> io::Result<bool> {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, no longer than that. Says whether it came.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        wait(&self.fd, PollFlags::IN, limit)
    }
}
