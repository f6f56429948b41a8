//! The real files beneath a container's paths: who they are, and what they hold.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use lacre_types::{Digest, FileId};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use sha2::{Digest as _, Sha256};

use crate::mountinfo;

/// `OVERLAYFS_SUPER_MAGIC` (linux/magic.h).
const OVERLAY: u64 = 0x794c_7630;

const BTRFS: u64 = 0x9123_683e;
const BCACHEFS: u64 = 0xca45_1a4e;

/// More is never hashed: it is no program that anybody ships, and a sparse file of any
/// size costs an attacker nothing.
const MOST_HASHED: u64 = 1 << 30;

/// File systems whose content changes only with the change time, by the names that
/// `mountinfo` has. What a server or a process answers for (FUSE, NFS, 9P, virtiofs) may
/// differ at each read, and may never come.
const STEADY: &[&[u8]] = &[
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"bcachefs",
    b"f2fs",
    b"zfs",
    b"tmpfs",
    b"ramfs",
    b"rootfs",
    b"devtmpfs",
    b"overlay",
    b"erofs",
    b"squashfs",
    b"iso9660",
    b"vfat",
];

/// The two halves of a root file system: where the files of an overlay really lie.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    dirs: Vec<PathBuf>,
}

/// A file that was found, opened for reading.
#[derive(Debug)]
pub(crate) struct Real {
    pub(crate) file: File,
    pub(crate) id: FileId,
    pub(crate) size: u64,
    /// Whether `id` is the kernel's, so that it may be remembered. It is not where the
    /// layers of an overlay are unknown.
    pub(crate) exact: bool,
}

impl Layers {
    /// Of an overlay, topmost first; none for a root that is no overlay.
    pub(crate) fn new(upper: Option<&Path>, lower: &[PathBuf]) -> Self {
        Self {
            dirs: upper.into_iter().map(Path::to_path_buf).chain(lower.iter().cloned()).collect(),
        }
    }

    /// Whether `stat` and the kernel number their devices alike: btrfs and bcachefs give
    /// each subvolume one of its own.
    pub(crate) fn comparable(&self) -> Result<(), String> {
        for dir in &self.dirs {
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
        if file_system(opened)? != OVERLAY {
            return Ok(Real { file: reopen(opened)?, id, size, exact: true });
        }
        let link = rustix::fs::readlinkat(CWD, fd_path(opened), Vec::new())?;
        let relative = link.as_bytes().strip_prefix(b"/").unwrap_or(link.as_bytes());
        for dir in &self.dirs {
            let Ok(found) = beneath(dir, relative) else { continue };
            let (real, real_size) = regular(found.as_fd())?;
            // The overlay hands on the real inode's change time and size.
            let same = real.ctime_sec == id.ctime_sec
                && real.ctime_nsec == id.ctime_nsec
                && real_size == size;
            if same {
                return Ok(Real { file: reopen(found.as_fd())?, id: real, size, exact: true });
            }
            break;
        }
        Ok(Real { file: reopen(opened)?, id, size, exact: false })
    }

    /// The topmost file of that name: what an overlay shows there, unless an opaque directory
    /// hides it.
    pub(crate) fn topmost(&self, path: &[u8]) -> Option<Real> {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let found = self.dirs.iter().find_map(|dir| beneath(dir, relative).ok())?;
        let (id, size) = regular(found.as_fd()).ok()?;
        Some(Real { file: reopen(found.as_fd()).ok()?, id, size, exact: true })
    }
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

    /// The digest of the whole file, if it stayed the same while it was read.
    pub(crate) fn digest(&mut self) -> Result<Digest, String> {
        if self.size > MOST_HASHED {
            return Err(format!("it has {} bytes, more than are hashed (1 GiB)", self.size));
        }
        let told = |why: io::Error| format!("reading it failed: {why}");
        let mut sha = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        let mut left = MOST_HASHED;
        loop {
            let n = self.file.read(&mut buffer).map_err(told)?;
            if n == 0 {
                break;
            }
            left = left.checked_sub(n as u64).ok_or("it grew while it was read")?;
            sha.update(&buffer[..n]);
        }
        let (after, size) = regular(self.file.as_fd()).map_err(told)?;
        if (after.ctime_sec, after.ctime_nsec, size)
            != (self.id.ctime_sec, self.id.ctime_nsec, self.size)
        {
            return Err("it changed while it was read".to_owned());
        }
        Ok(Digest::sha256(sha.finalize().into()))
    }
}

/// Digests by identity, so that what runs often is read once.
#[derive(Debug, Default)]
pub(crate) struct Digests(HashMap<FileId, Digest>);

impl Digests {
    /// A digest is 65 bytes: with its key, a hundred kilobytes at most.
    const MOST: usize = 1024;

    pub(crate) fn of(&mut self, real: &mut Real) -> Result<Digest, String> {
        if real.exact
            && let Some(digest) = self.0.get(&real.id)
        {
            return Ok(*digest);
        }
        let digest = real.digest()?;
        if real.exact && settled(&real.id) {
            if self.0.len() >= Self::MOST {
                self.0.clear();
            }
            self.0.insert(real.id, digest);
        }
        Ok(digest)
    }
}

/// Whether the change time lies far enough back that a later write must move it: before
/// 6.13 the clock of inodes ticks only every 1 to 10 ms.
pub(crate) fn settled(id: &FileId) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let age = (now.tv_sec - id.ctime_sec).saturating_mul(1_000_000_000)
        + (now.tv_nsec - i64::from(id.ctime_nsec));
    age > 40_000_000
}

/// The identity and size of a regular file; other kinds are refused.
pub(crate) fn regular(fd: BorrowedFd<'_>) -> io::Result<(FileId, u64)> {
    let stat = rustix::fs::statx(
        fd,
        c"",
        AtFlags::EMPTY_PATH,
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
/// file systems of [`STEADY`] is asked for it, and so nobody can keep whoever looks: `table`
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
    match mounts.iter().find(|mount| leads_over(&mount.point) && !is_steady(&mount.kind)) {
        Some(mount) => Err(io::Error::other(format!(
            "it lies on {}, which may never answer",
            lacre_types::escape(&mount.kind)
        ))),
        None => open_by(root, path, ResolveFlags::NO_SYMLINKS),
    }
}

fn open_by(root: &Path, path: &[u8], links: ResolveFlags) -> io::Result<OwnedFd> {
    let root =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
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

fn reopen(fd: BorrowedFd<'_>) -> io::Result<File> {
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
    let wanted = format!("{}:{}", dev >> 20, dev & 0xf_ffff);
    let line = mounts
        .split(|byte| *byte == b'\n')
        .find(|line| line.split(|byte| *byte == b' ').nth(2) == Some(wanted.as_bytes()))?;
    let at = line.windows(3).position(|three| three == b" - ")?;
    let kind = line[at + 3..].split(|byte| *byte == b' ').next()?;
    (!is_steady(kind)).then(|| lacre_types::escape(kind))
}

fn is_steady(kind: &[u8]) -> bool {
    STEADY.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_itself_and_its_digest_that_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"abc").unwrap();
        let fd = open_in(dir.path(), b"/f").unwrap();
        let layers = Layers::new(None, &[]);
        let mut real = layers.real(fd.as_fd()).unwrap();
        assert!(real.exact && real.is(&real.id));
        let digest = real.digest().unwrap();
        assert_eq!(
            digest.hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/passwd", dir.path().join("up")).unwrap();
        assert!(open_in(dir.path(), b"/out").is_err());
        assert!(open_in(dir.path(), b"/up").is_err());
        assert!(open_in(dir.path(), b"/../../etc/passwd").is_err());
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let layers = Layers::new(None, &[]);
        let fd = open_in(Path::new("/"), b"/dev/zero").unwrap();
        assert!(layers.real(fd.as_fd()).is_err());
    }

    #[test]
    fn a_sparse_giant_is_not_hashed() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 30).unwrap();
        let layers = Layers::new(None, &[]);
        let mut real = layers.real(file.as_fd()).unwrap();
        assert!(real.digest().unwrap_err().contains("10737418240"));
    }

    #[test]
    fn the_own_file_systems_are_steady_and_proc_is_not() {
        let pid = std::process::id();
        let dev = |path: &str| {
            let stat = rustix::fs::stat(path).unwrap();
            FileId::kernel_dev(rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev))
        };
        assert_eq!(unsteady(pid, dev("/dev/shm")), None);
        assert_eq!(unsteady(pid, dev("/proc")), Some("proc".to_owned()));
    }
}
