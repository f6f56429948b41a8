//! The cgroup of a container, found between Create and Start and told from a later one of its name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use lacre_types::{mountinfo, proc_pid};
use rustix::fs::{Mode, OFlags};

use crate::cgroup_tree::CgroupTree;

/// The cgroup that holds a container's processes, in the hierarchy whose freezer reaches
/// them. Held open: a later container of the same name is another cgroup.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) folder: OwnedFd,
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

/// Whose interface files it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// `freezer.state`.
    One,
    /// `cgroup.freeze`, `cgroup.events`.
    Two,
}

/// Why a container's cgroup can't be acted on.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file of `/proc` or of the cgroup can't be read.
    #[error("finding the cgroup of process {pid}: {path} can't be read", path = .path.display())]
    Read {
        /// The container's init.
        pid: u32,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No hierarchy with a freezer is mounted where the process is in it.
    #[error(
        "process {pid} is in no cgroup that can be frozen: mount a cgroup v1 freezer, or cgroup v2 (Linux 5.2 or later)"
    )]
    NoFreezer {
        /// The container's init.
        pid: u32,
    },
    /// Acting on it would stop the node.
    #[error(
        "process {pid} is in {path}, which holds {holds}: give the container a cgroup of its own",
        path = .path.display()
    )]
    Shared {
        /// The container's init.
        pid: u32,
        /// The cgroup.
        path: PathBuf,
        /// What else is in it.
        holds: &'static str,
    },
}

impl Cgroup {
    /// The cgroup of a container's init. Ask between Create and Start, while `runc init` is
    /// in it: later a process with the right to can have moved itself deeper.
    ///
    /// # Errors
    /// When it can't be found, or is not the container's alone.
    pub fn of(pid: u32) -> Result<Self, CgroupError> {
        let read = |path: PathBuf| {
            fs::read(&path).map_err(|source| CgroupError::Read { pid, path, source })
        };
        let memberships = memberships(&read(format!("/proc/{pid}/cgroup").into())?);
        let own = self::memberships(&read("/proc/self/cgroup".into())?);
        let mounts = mounts(&read("/proc/self/mountinfo".into())?);
        let mut refused = None;
        for version in [Version::One, Version::Two] {
            let find = |list: &[Membership]| {
                list.iter().find(|entry| entry.version == version).map(|entry| entry.path.clone())
            };
            let Some(group) = find(&memberships) else { continue };
            let shared = |holds| CgroupError::Shared { pid, path: group.clone(), holds };
            if group == Path::new("/") {
                refused = Some(shared("the whole node"));
                continue;
            }
            if find(&own).is_some_and(|own| own.starts_with(&group)) {
                refused = Some(shared("lacre itself"));
                continue;
            }
            // Later mounts lie over earlier ones.
            for mount in mounts.iter().rev().filter(|mount| mount.version == version) {
                let Some(path) = mount.seen(&group) else { continue };
                let Some(folder) = open(&path, version, pid) else { continue };
                return Ok(Self { folder, path, version });
            }
        }
        Err(refused.unwrap_or(CgroupError::NoFreezer { pid }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An interface file of it.
    pub(crate) fn open(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?.into())
    }

    /// Whether its path still leads to it, and not to a later one of the same name.
    pub(crate) fn is_still_there(&self) -> bool {
        let inode = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let named = rustix::fs::stat(&self.path).map(inode);
        named.is_ok() && named == rustix::fs::fstat(&self.folder).map(inode)
    }

    /// It, and those beneath it.
    pub(crate) fn tree(&self) -> io::Result<CgroupTree> {
        CgroupTree::at(&self.folder)
    }
}

/// Opens the folder if it is a freezable cgroup and the process is in it: a mount may hide
/// another, or show another cgroup namespace's view.
fn open(path: &Path, version: Version, pid: u32) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let needed = match version {
        Version::One => "freezer.state",
        Version::Two => "cgroup.freeze",
    };
    rustix::fs::statat(&folder, needed, rustix::fs::AtFlags::empty()).ok()?;
    let procs = fs::read_to_string(path.join("cgroup.procs")).ok()?;
    procs.lines().any(|line| line.parse() == Ok(pid)).then_some(folder)
}

/// A line of `/proc/PID/cgroup`, of a hierarchy with a freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) version: Version,
    pub(crate) path: PathBuf,
}

/// Those with a freezer.
pub(crate) fn memberships(table: &[u8]) -> Vec<Membership> {
    let of = |one: proc_pid::Membership<'_>| {
        let version = if one.controls("freezer") {
            Version::One
        } else if one.is_unified() {
            Version::Two
        } else {
            return None;
        };
        let path = PathBuf::from(OsString::from_vec(one.path.to_vec()));
        path.is_absolute().then_some(Membership { version, path })
    };
    proc_pid::memberships(table).filter_map(of).collect()
}

/// A mount of a hierarchy with a freezer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) version: Version,
    pub(crate) root: PathBuf,
    pub(crate) point: PathBuf,
}

impl Mount {
    /// Where a cgroup is seen through this mount.
    fn seen(&self, group: &Path) -> Option<PathBuf> {
        let rest = group.strip_prefix(&self.root).ok()?;
        // Above the root of our own cgroup namespace: not seen from here.
        if rest.components().any(|part| part == std::path::Component::ParentDir) {
            return None;
        }
        Some(self.point.join(rest))
    }
}

/// Those of a table of mounts.
pub(crate) fn mounts(table: &[u8]) -> Vec<Mount> {
    let of = |mount: mountinfo::Mount| {
        let version = match &mount.kind[..] {
            b"cgroup2" => Version::Two,
            b"cgroup" if mount.has(b"freezer") => Version::One,
            _ => return None,
        };
        let [root, point] = [mount.root, mount.point].map(|path| OsString::from_vec(path).into());
        Some(Mount { version, root, point })
    };
    mountinfo::lines(table).flatten().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(group: &str, mountinfo: &str) -> Option<PathBuf> {
        let group = memberships(group.as_bytes()).into_iter().next()?;
        mounts(mountinfo.as_bytes())
            .iter()
            .rev()
            .filter(|mount| mount.version == group.version)
            .find_map(|mount| mount.seen(&group.path))
    }

    const V1: &str = "30 24 0:27 / /sys/fs/cgroup/freezer rw,nosuid - cgroup cgroup rw,freezer";
    const V2: &str = "26 24 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn every_layout_is_found() {
        let v1 = "6:freezer:/default/one";
        assert_eq!(path(v1, V1), Some("/sys/fs/cgroup/freezer/default/one".into()));
        let joined = "3:cpu,freezer:/a:b";
        let mount = "30 24 0:27 / /cg rw - cgroup none rw,cpu,freezer";
        assert_eq!(path(joined, mount), Some("/cg/a:b".into()));
        let systemd = "0::/system.slice/cri-containerd-ab.scope";
        let scope = "/sys/fs/cgroup/system.slice/cri-containerd-ab.scope";
        assert_eq!(path(systemd, V2), Some(scope.into()));
    }

    #[test]
    fn a_bind_of_a_part_is_followed_and_what_it_hides_is_not() {
        let part = "31 24 0:22 /pods /my\\040cg rw - cgroup2 cgroup2 rw";
        assert_eq!(path("0::/pods/one", part), Some("/my cg/one".into()));
        assert_eq!(path("0::/podsy/one", part), None);
    }

    #[test]
    fn a_cgroup_above_our_namespace_is_not_seen() {
        assert_eq!(path("0::/../other", V2), None);
        let above = "26 24 0:22 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(path("0::/../other", above), Some("/sys/fs/cgroup/other".into()));
    }

    #[test]
    fn the_nodes_own_cgroups_are_refused() {
        // This test is in the cgroup that it asks for.
        let error = Cgroup::of(std::process::id()).unwrap_err();
        assert!(matches!(error, CgroupError::Shared { .. }), "{error}");
    }
}
