//! Which file systems and mounts of the container are marked, and how.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_sys::fanotify::{Mask, Reach};
use lacre_types::mountinfo::{self, Mount};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};

use super::groups::Asking;
use super::limits::MOUNTINFO;
use super::seat::Seat;
use crate::Target;

/// File systems of the kernel's own, from which nothing can be executed.
const KERNELS: [&[u8]; 18] = [
    b"proc",
    b"sysfs",
    b"cgroup",
    b"cgroup2",
    b"mqueue",
    b"devpts",
    b"securityfs",
    b"debugfs",
    b"tracefs",
    b"bpf",
    b"pstore",
    b"binfmt_misc",
    b"configfs",
    b"efivarfs",
    b"nsfs",
    b"autofs",
    b"selinuxfs",
    b"rpc_pipefs",
];

/// The container's mounts, and the group that asks about what is opened on them.
///
/// Mounts that come later are learnt from poll(2) on the mount table, which every kernel
/// has, and which costs no other group (`FAN_MARK_MNTNS`, 6.14, would tell no more and no sooner). Between the mount and its
/// mark nothing is held back there, and a mount in a namespace nested in the container's
/// is never learnt of: `exec-trace` sees what is executed from either.
pub(super) struct Marks {
    table: File,
    root: OwnedFd,
    rootfs: PathBuf,
    overlay: bool,
}

/// A mount to mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    pub(super) mount: &'a Mount,
    pub(super) reach: Reach,
}

impl Marks {
    /// Opens what leads to the container's mounts.
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{}", target.init_pid));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            table: File::open(process.join("mountinfo"))?,
            root: rustix::fs::open(process.join("root"), flags, Mode::empty())?,
            rootfs: std::fs::canonicalize(&target.rootfs).unwrap_or_else(|_| target.rootfs.clone()),
            overlay: target.upper.is_some() || !target.lower.is_empty(),
        })
    }

    /// The container's root directory.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Polls as exceptional when the mount table has changed.
    pub(super) fn table(&self) -> BorrowedFd<'_> {
        self.table.as_fd()
    }

    /// What the container mounts, and what we do.
    pub(super) fn tables(&self) -> io::Result<(Vec<Mount>, Vec<Mount>)> {
        Ok((read(&self.table)?, read(&File::open("/proc/self/mountinfo")?)?))
    }

    /// What to mark; `later` tells that processes of the container run, and may have mounted some
    /// of it.
    pub(super) fn plans<'a>(
        &self,
        container: &'a [Mount],
        host: &[Mount],
        later: bool,
    ) -> Vec<Plan<'a>> {
        plan(container, host, &self.rootfs, self.overlay, later)
    }

    /// Marks one. It may wait for whose file systems lead there.
    pub(super) fn mark(
        &self,
        (mount, reach): (&Mount, Reach),
        mask: Mask,
        asking: &Asking,
        seat: &Seat,
    ) -> io::Result<()> {
        let Some(at) = self.reach(mount)? else { return Ok(()) };
        if reach == Reach::Filesystem {
            seat.marks(mount.dev);
        }
        asking.group.mark(reach, mask, at.as_fd()).map_err(|error| {
            let point = lacre_types::escape(&mount.point);
            io::Error::new(error.kind(), format!("marking {point} of the container: {error}"))
        })
    }

    /// Takes the mark off one, unless another container needs it.
    pub(super) fn unmark(
        &self,
        (mount, reach): (&Mount, Reach),
        mask: Mask,
        asking: &Asking,
        seat: &Arc<Seat>,
    ) {
        let Ok(Some(at)) = self.reach(mount) else { return };
        if reach == Reach::Mount || !asking.is_marked_by_another(seat, mount.dev) {
            let _ = asking.group.unmark(reach, mask, at.as_fd());
        }
    }

    /// The mount, unless another one hides it or it is gone: then there is no way to a
    /// file on it, and when there is one again the table changes.
    fn reach(&self, mount: &Mount) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let path = Path::new(std::ffi::OsStr::from_bytes(&mount.point));
        match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Ok(at) => {
                // Without asking a server.
                let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
                let id = rustix::fs::statx(&at, c"", flags, StatxFlags::MNT_ID)?;
                Ok((id.stx_mnt_id == mount.id).then_some(at))
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whoever else reads it.
fn read(table: &File) -> io::Result<Vec<Mount>> {
    let (mut bytes, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let got = table.read_at(&mut part, bytes.len() as u64)?;
        bytes.extend_from_slice(part.get(..got).unwrap_or_default());
        if got == 0 || bytes.len() as u64 >= MOUNTINFO {
            break;
        }
    }
    if bytes.len() as u64 >= MOUNTINFO {
        return Err(io::Error::other("the mount table has more than 4 MiB"));
    }
    mountinfo::parse(&bytes).map_err(io::Error::other)
}

/// The root first. A file system that only this container mounts is marked as a whole,
/// so that bind mounts and nested namespaces are in; of one that the host has too, only
/// the container's mount is.
fn plan<'a>(
    container: &'a [Mount],
    host: &[Mount],
    rootfs: &Path,
    overlay: bool,
    later: bool,
) -> Vec<Plan<'a>> {
    let hosts: BTreeSet<_> = host
        .iter()
        .filter(|mount| {
            let point = Path::new(std::ffi::OsStr::from_bytes(&mount.point));
            // A root file system of `/` would make the whole node the container's own.
            rootfs.parent().is_none() || !point.starts_with(rootfs)
        })
        .map(|mount| mount.dev)
        .collect();
    let root = container.iter().rposition(|mount| mount.point == b"/");
    let mut plans: Vec<_> = container
        .iter()
        .enumerate()
        .filter(|(at, mount)| {
            // A server in the container could keep its reader, which would be us.
            let unsafe_now = later && mount.kind.starts_with(b"fuse");
            Some(*at) == root || !(KERNELS.contains(&&mount.kind[..]) || unsafe_now)
        })
        .map(|(at, mount)| {
            let own = overlay && Some(at) == root;
            let reach =
                if own || !hosts.contains(&mount.dev) { Reach::Filesystem } else { Reach::Mount };
            (Some(at) != root, Plan { mount, reach })
        })
        .collect();
    plans.sort_by_key(|(not_root, _)| *not_root);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u64, minor: u32, point: &str, kind: &str) -> Mount {
        Mount {
            id,
            dev: (0, minor),
            root: b"/".to_vec(),
            point: point.into(),
            kind: kind.into(),
            options: Vec::new(),
        }
    }

    fn reaches(container: &[Mount], overlay: bool, later: bool) -> Vec<(u64, Reach)> {
        let host = [
            mount(1, 1, "/", "ext4"),
            mount(2, 40, "/run/c/rootfs", "overlay"),
            mount(3, 50, "/run/pod/shm", "tmpfs"),
            mount(4, 41, "/run/c/rootfs/data", "tmpfs"),
        ];
        plan(container, &host, Path::new("/run/c/rootfs"), overlay, later)
            .iter()
            .map(|plan| (plan.mount.id, plan.reach))
            .collect()
    }

    #[test]
    fn what_only_the_container_mounts_is_marked_as_a_whole() {
        let container = [
            mount(10, 40, "/", "overlay"),
            mount(11, 5, "/proc", "proc"),
            mount(12, 60, "/dev", "tmpfs"),
            mount(13, 50, "/dev/shm", "tmpfs"),
            mount(14, 1, "/etc/resolv.conf", "ext4"),
            mount(15, 41, "/data", "tmpfs"),
        ];
        use Reach::{Filesystem, Mount};
        let want = [(10, Filesystem), (12, Filesystem), (13, Mount), (14, Mount), (15, Filesystem)];
        assert_eq!(reaches(&container, true, false), want);
    }

    #[test]
    fn a_root_on_the_hosts_file_system_is_marked_by_its_mount() {
        assert_eq!(reaches(&[mount(10, 1, "/", "ext4")], false, false), [(10, Reach::Mount)]);
    }

    #[test]
    fn a_fuse_mount_of_the_containers_own_is_left_alone() {
        let container = [mount(10, 40, "/", "overlay"), mount(11, 70, "/m", "fuse.sshfs")];
        assert_eq!(reaches(&container, true, true).len(), 1);
        assert_eq!(reaches(&container, true, false).len(), 2);
    }
}
