//! The real files beneath a container's paths: who they are, and what they hold.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_types::{CanonicalPath, FileId, Known, mountinfo};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};

use crate::birth::{Birth, Date};
use crate::file_systems;
use crate::lower_layers;
use crate::unlinked::Unlinked;

/// `OVERLAYFS_SUPER_MAGIC` (linux/magic.h).
const OVERLAY: u64 = 0x794c_7630;

const BTRFS: u64 = 0x9123_683e;
const BCACHEFS: u64 = 0xca45_1a4e;
/// Where the files of a root file system really lie.
#[derive(Clone)]
pub(crate) struct Layers {
    /// Of an overlay, topmost first; none for a root that is no overlay.
    dirs: Vec<PathBuf>,
    /// Of them the container's own.
    own: usize,
    /// The root that is no overlay.
    plain: Option<PathBuf>,
    /// The overlay's own device: a directory's is never a layer's.
    overlay: Option<u32>,
    /// The devices that the directories lie on.
    devices: Vec<u32>,
    /// When the upper directory was made.
    birth: Option<Birth>,
    /// What is mounted in the container before its first program runs.
    mounted: Arc<[(u32, Vec<u8>)]>,
    unlinked: Arc<Unlinked>,
    known: Arc<dyn Known>,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

/// A file that was found, opened for reading.
#[derive(Debug)]
pub(crate) struct Real {
    pub(crate) file: File,
    pub(crate) id: FileId,
    /// Whether `id` is the kernel's, so that it may be remembered. It is not where the
    /// layers of an overlay are unknown.
    pub(crate) exact: bool,
}

impl Layers {
    /// Of a container whose init waits to be started.
    pub(crate) fn new(
        init_pid: u32,
        upper: Option<&Path>,
        lower: &[PathBuf],
        known: Arc<dyn Known>,
    ) -> Self {
        let table = std::fs::read(format!("/proc/{init_pid}/mountinfo"));
        let mounts = table.ok().and_then(|table| mountinfo::parse(&table).ok());
        let device = |(major, minor)| FileId::kernel_dev(major, minor);
        let mounted = mounts.unwrap_or_default().into_iter();
        let dirs = { upper.into_iter() }.chain(lower.iter().map(PathBuf::as_path));
        let dirs: Vec<PathBuf> = dirs.map(Path::to_owned).collect();
        Self {
            overlay: root_device(init_pid).ok().filter(|_| !dirs.is_empty()),
            birth: upper.and_then(|upper| Birth::of(upper).ok()),
            devices: devices_of(&dirs),
            plain: dirs.is_empty().then(|| format!("/proc/{init_pid}/root").into()),
            dirs,
            own: usize::from(upper.is_some()),
            mounted: mounted.map(|mount| (device(mount.dev), mount.kind)).collect(),
            unlinked: Arc::default(),
            known,
        }
    }

    /// With what is known of files that have no name any more.
    pub(crate) fn with(self, unlinked: Arc<Unlinked>) -> Self {
        Self { unlinked, ..self }
    }

    /// What is known of files that have no name any more.
    pub(crate) fn unlinked(&self) -> &Unlinked {
        &self.unlinked
    }

    /// The device of the container's root, if that is an overlay.
    pub(crate) const fn overlay(&self) -> Option<u32> {
        self.overlay
    }

    /// When the container's own layer was made, if it has one and that can be told.
    pub(crate) fn birth(&self) -> Option<Date> {
        self.birth.as_ref().and_then(Birth::date)
    }

    /// Whether a file on the root is as it came with the image, listed or not.
    pub(crate) fn came_with_image(&self, opened: BorrowedFd<'_>, real: &Real) -> bool {
        let dated = (real.id.ctime_sec, real.id.ctime_nsec);
        // By a mount that somebody made himself its name leads elsewhere, and the root's it is.
        (real.exact || self.overlay == Some(real.id.dev))
            && self.birth.as_ref().is_some_and(|birth| birth.is_after(dated))
            && self.is_overlay(opened).unwrap_or(false)
    }

    /// The type of a file system that the container had before its first program ran.
    pub(crate) fn mounted(&self, dev: u32) -> Option<&[u8]> {
        self.mounted.iter().find(|(of, _)| *of == dev).map(|(_, kind)| &kind[..])
    }

    /// Whether `stat` and the kernel number devices alike: not those of subvolumes.
    pub(crate) fn comparable(&self) -> Result<(), String> {
        for dir in self.dirs.iter().chain(&self.plain) {
            let Ok(kind) = rustix::fs::statfs(dir).map(|stat| stat.f_type as u64) else { continue };
            if kind == BTRFS || kind == BCACHEFS {
                return Err(format!(
                    "layers on ext4, xfs or another file system with one device number; {} is on btrfs or bcachefs",
                    dir.display()
                ));
            }
        }
        Ok(())
    }

    /// The file that `opened` (for reading, or `O_PATH`) really is.
    pub(crate) fn real(&self, opened: BorrowedFd<'_>) -> io::Result<Real> {
        let (id, size) = regular(opened)?;
        if !self.is_overlay(opened)? {
            return Ok(Real { file: reopen(opened)?, id, exact: true });
        }
        match self.beneath(opened, (&id, size), None).or_else(|| self.untouched(&id, size)) {
            Some(real) => Ok(real),
            None => Ok(Real { file: reopen(opened)?, id, exact: false }),
        }
    }

    /// Whether the file is on an overlay.
    pub(crate) fn is_overlay(&self, opened: BorrowedFd<'_>) -> io::Result<bool> {
        Ok(file_system(opened)? == OVERLAY)
    }

    /// The file of a layer that an overlay shows in this state: by the name that the kernel
    /// has for it now, or by another that it may have.
    ///
    /// overlayfs shows the real inode's change time and size, and the number of the inode
    /// that came with the image where that was copied up. User space can set no change time.
    pub(crate) fn beneath(
        &self,
        opened: BorrowedFd<'_>,
        (shown, size): (&FileId, u64),
        path: Option<&CanonicalPath>,
    ) -> Option<Real> {
        let link = rustix::fs::readlinkat(CWD, fd_path(opened), Vec::new()).ok();
        let link = link.and_then(|link| CanonicalPath::new(link.into_bytes()).ok());
        let named = link.iter().chain(path).find_map(|path| {
            let relative = path.as_bytes().strip_prefix(b"/")?;
            let found = self.dirs.iter().find_map(|dir| beneath(dir, relative).ok())?;
            let (id, real_size) = regular(found.as_fd()).ok()?;
            let same = id.ctime_sec == shown.ctime_sec
                && id.ctime_nsec == shown.ctime_nsec
                && real_size == size
                && (same_number(id.ino, shown.ino) || self.came_as(path, shown.ino));
            let file = reopen(found.as_fd()).ok().filter(|_| same)?;
            Some(Real { file, id, exact: true })
        });
        named.or_else(|| self.without_name((shown, size)))
    }

    /// Whether the image's file of that name has that number, by which an overlay shows it when it
    /// was copied up, too.
    fn came_as(&self, path: &CanonicalPath, number: u64) -> bool {
        let listed = self.known.by_path(path).map(|known| known.id.ino);
        let number = |ino| same_number(ino, number);
        listed.is_some_and(number) || self.image_file(path).is_some_and(|it| number(it.id.ino))
    }

    /// The image's own file of that name, whatever the container has in its place; opened to read.
    pub(crate) fn image_file(&self, path: &CanonicalPath) -> Option<Real> {
        let found = lower_layers::file(self.dirs.get(self.own..)?, path.as_bytes())?;
        let (id, _) = regular(found.as_fd()).ok()?;
        Some(Real { file: reopen(found.as_fd()).ok()?, id, exact: true })
    }

    /// The same of one that has lost its name since it was changed.
    fn without_name(&self, (shown, size): (&FileId, u64)) -> Option<Real> {
        self.unlinked.of(self.overlay?).into_iter().find_map(|(path, file)| {
            let (id, its) = regular(file.as_fd()).ok()?;
            let came = || self.known.by_path(&path).map(|known| known.id.ino);
            let same = (id.ctime_sec, id.ctime_nsec, its)
                == (shown.ctime_sec, shown.ctime_nsec, size)
                && (same_number(id.ino, shown.ino)
                    || came().is_some_and(|ino| same_number(ino, shown.ino)));
            let file = reopen(file.as_fd()).ok().filter(|_| same)?;
            Some(Real { file, id, exact: true })
        })
    }

    /// The untouched file of the image that the container's own overlay shows in this state, where
    /// its name leads elsewhere: by a mount or a root that somebody made himself.
    fn untouched(&self, shown: &FileId, size: u64) -> Option<Real> {
        self.overlay.filter(|overlay| *overlay == shown.dev)?;
        let path = self.devices.iter().find_map(|dev| {
            // The high bits may tell the layer's file system (`xino`).
            let numbers = [shown.ino, shown.ino & 0xffff_ffff];
            let (path, known) = numbers.iter().find_map(|ino| self.known.by_inode(*dev, *ino))?;
            let dated = (known.id.ctime_sec, known.id.ctime_nsec);
            (dated == (shown.ctime_sec, shown.ctime_nsec) && known.size == size).then_some(path)
        })?;
        let relative = path.as_bytes().strip_prefix(b"/")?;
        self.dirs.iter().find_map(|dir| {
            let found = beneath(dir, relative).ok()?;
            let (id, real_size) = regular(found.as_fd()).ok()?;
            let same = (id.ctime_sec, id.ctime_nsec, real_size)
                == (shown.ctime_sec, shown.ctime_nsec, size)
                && same_number(id.ino, shown.ino);
            let file = reopen(found.as_fd()).ok().filter(|_| same)?;
            Some(Real { file, id, exact: true })
        })
    }

    /// The topmost file of that name: what an overlay shows there, unless an opaque directory
    /// hides it.
    pub(crate) fn topmost(&self, path: &[u8]) -> Option<Real> {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let found = self.dirs.iter().find_map(|dir| beneath(dir, relative).ok())?;
        let (id, _) = regular(found.as_fd()).ok()?;
        Some(Real { file: reopen(found.as_fd()).ok()?, id, exact: true })
    }
}

fn devices_of(dirs: &[PathBuf]) -> Vec<u32> {
    let device = |dir: &PathBuf| {
        let stat = rustix::fs::statx(CWD, dir, AtFlags::empty(), StatxFlags::INO).ok()?;
        Some(FileId::kernel_dev(stat.stx_dev_major, stat.stx_dev_minor))
    };
    let mut all: Vec<u32> = dirs.iter().filter_map(device).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Of a real inode and an overlay's: the high bits may tell the layer's file system (`xino`).
pub(crate) const fn same_number(real: u64, shown: u64) -> bool {
    real & 0xffff_ffff == shown & 0xffff_ffff
}

/// The device of the file system that a process has as its root.
pub(crate) fn root_device(pid: u32) -> io::Result<u32> {
    let root = format!("/proc/{pid}/root");
    let stat = rustix::fs::statx(CWD, root, AtFlags::empty(), StatxFlags::INO)?;
    Ok(FileId::kernel_dev(stat.stx_dev_major, stat.stx_dev_minor))
}

impl Real {
    /// Whether it is the file that the kernel told of.
    pub(crate) fn is(&self, told: &FileId) -> bool {
        if self.exact {
            self.id == *told
        } else {
            // An unknown overlay's device is its own, and it may have put bits above the
            // inode number (xino).
            self.id.ctime_sec == told.ctime_sec
                && self.id.ctime_nsec == told.ctime_nsec
                && (self.id.ino == told.ino || self.id.ino as u32 == told.ino as u32)
        }
    }
}

/// The identity and size of a regular file; other kinds are refused.
pub(crate) fn regular(fd: BorrowedFd<'_>) -> io::Result<(FileId, u64)> {
    let stat = rustix::fs::statx(
        fd,
        c"",
        AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC,
        StatxFlags::TYPE | StatxFlags::INO | StatxFlags::CTIME | StatxFlags::SIZE,
    )?;
    if u32::from(stat.stx_mode) & S_IFMT != S_IFREG {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let id = FileId {
        dev: FileId::kernel_dev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        ctime_sec: stat.stx_ctime.tv_sec,
        ctime_nsec: stat.stx_ctime.tv_nsec,
    };
    Ok((id, stat.stx_size))
}

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// Opens `path` as a process sees it whose root is `root`: symbolic links stay within,
/// those of /proc are not followed, and nothing is opened that is not a regular file.
pub(crate) fn open_in(root: &Path, path: &[u8]) -> io::Result<OwnedFd> {
    open_by(root, path, ResolveFlags::NO_MAGICLINKS)
}

/// The same of a path that the kernel told of, which has no symbolic links. Nobody but the
/// file systems that the kernel answers for is asked for it, and so nobody can keep whoever looks: `table`
/// is the mount table by which `way` is the path.
pub(crate) fn open_steady(
    root: &Path,
    path: &[u8],
    table: &Path,
    way: &[u8],
) -> io::Result<OwnedFd> {
    let mounts = mountinfo::parse(&std::fs::read(table)?).map_err(io::Error::other)?;
    let leads_over = |point: &[u8]| {
        let rest = way.strip_prefix(point.strip_suffix(b"/").unwrap_or(point));
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    match mounts
        .iter()
        .find(|mount| leads_over(&mount.point) && !file_systems::answers(&mount.kind))
    {
        Some(mount) => Err(io::Error::other(format!(
            "it lies on {}, which may never answer",
            lacre_types::escape(&mount.kind)
        ))),
        None => open_by(root, path, ResolveFlags::NO_SYMLINKS),
    }
}

fn open_by(root: &Path, path: &[u8], links: ResolveFlags) -> io::Result<OwnedFd> {
    // A process that ends has no root any more: that says nothing of what lies below it.
    let root =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|_| rustix::io::Errno::SRCH)?;
    // EAGAIN: something was renamed or mounted meanwhile, and the kernel could not tell
    // whether a `..` stayed within.
    let mut found = Err(rustix::io::Errno::AGAIN);
    for _ in 0..16 {
        found = rustix::fs::openat2(
            &root,
            std::ffi::OsStr::from_bytes(path),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | links,
        );
        if !matches!(found, Err(rustix::io::Errno::AGAIN)) {
            break;
        }
    }
    Ok(found?)
}

/// Opens what a link of /proc points to (`exe`, `fd/N`, `map_files/…`).
pub(crate) fn open_magic(link: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

fn beneath(dir: &Path, relative: &[u8]) -> io::Result<OwnedFd> {
    let dir =
        rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let found = rustix::fs::openat2(
        &dir,
        std::ffi::OsStr::from_bytes(relative),
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )?;
    Ok(found)
}

/// Opens a file for reading that is open already, in whatever way.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(fd_path(fd), flags, Mode::empty())?.into())
}

fn fd_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn file_system(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64)
}

/// The type of the file system with device `dev` among the mounts of a process, when it
/// is one whose files may not be trusted to stay what they are.
pub(crate) fn unsteady(pid: u32, dev: u32) -> Option<String> {
    let mounts = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    let is = |(major, minor): (u32, u32)| FileId::kernel_dev(major, minor) == dev;
    let mount = mountinfo::lines(&mounts).flatten().find(|mount| is(mount.dev))?;
    (!file_systems::answers(&mount.kind)).then(|| lacre_types::escape(&mount.kind))
}

#[cfg(test)]
mod tests;
