//! What may be believed of a file without reading it, by the container's root file system.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use lacre_sys::lease::Still;
use lacre_types::{CanonicalPath, FileId};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};

use super::failure::Failure;
use super::subject::{Facts, State};
use crate::{KnownFile, Target};

/// `TMPFS_MAGIC`, `RAMFS_MAGIC` (linux/magic.h): a store to a shared mapping doesn't
/// change their files' times.
const TIMELESS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

#[derive(Debug)]
pub(super) struct Root {
    dev: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// With the upper directory and the time of its birth, unless it is read-only.
    Overlay(Option<(OwnedFd, (i64, u32))>),
    /// Not an overlay; whether each change of content shows in the change time.
    Plain { timely: bool },
}

impl Root {
    pub(super) fn new(root: impl AsFd, target: &Target) -> io::Result<Self> {
        let dev = Facts::of(&root)?.state.dev;
        let kind = match &target.upper {
            Some(upper) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let upper = rustix::fs::openat(CWD, upper, flags, Mode::empty())?;
                let stat = rustix::fs::statx(&upper, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
                let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
                // Without a birth time, nothing is old enough to be believed.
                let birth = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
                Kind::Overlay(Some((upper, if born { birth } else { (i64::MIN, 0) })))
            }
            None if !target.lower.is_empty() => Kind::Overlay(None),
            None => Kind::Plain { timely: !TIMELESS.contains(&magic(&root)?) },
        };
        Ok(Self { dev, kind })
    }

    /// Whether this is the file that was hashed before, in the state it had.
    ///
    /// overlayfs shows the real inode's change time, which user space cannot set; a
    /// copy-up makes another inode, changed later, so equal times mean the lower file.
    /// Only files of the root's own device are believed: a file system of an attacker's
    /// making (FUSE) can show any time.
    pub(super) fn is_same(&self, known: &KnownFile, state: &State) -> bool {
        let FileId { dev, ino, ctime_sec, ctime_nsec } = known.id;
        let same_state = state.dev == self.dev
            && state.ctime == (ctime_sec, ctime_nsec)
            && state.size == known.size;
        same_state
            && match &self.kind {
                Kind::Overlay(_) => same_number(ino, state.ino),
                Kind::Plain { timely } => *timely && state.ino == ino && kernel_dev(state) == dev,
            }
    }

    /// Whether a read lease is enough to keep its content: on an overlay, a shared
    /// mapping of a file that was copied up holds on to the real inode only, and no
    /// lease sees it; but a lower file has none. What changed before the upper directory
    /// was born is not in it.
    fn lease_holds(&self, state: &State) -> bool {
        state.dev == self.dev
            && match &self.kind {
                Kind::Overlay(Some((_, birth))) => state.ctime < *birth,
                Kind::Overlay(None) | Kind::Plain { .. } => true,
            }
    }

    /// Keeps writers out of the real inode of a file that was copied up, or made there:
    /// shared mappings that were made before are writers. Nothing is kept where the lease
    /// on the overlay's own inode is enough.
    ///
    /// # Errors
    /// [`Failure::Writer`] when there is one, or when it can't be told: the name leads to
    /// another file by now. `origin` is the inode of the image's file of that name.
    pub(super) fn still(
        &self,
        path: Option<&CanonicalPath>,
        state: &State,
        origin: Option<u64>,
    ) -> Result<Option<Still<OwnedFd>>, Failure> {
        let Kind::Overlay(Some((upper, _))) = &self.kind else { return Ok(None) };
        if state.dev != self.dev || self.lease_holds(state) {
            return Ok(None);
        }
        let path = path.and_then(|path| path.as_bytes().strip_prefix(b"/"));
        let path = path.ok_or(Failure::Writer)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let real = rustix::fs::openat2(upper, path, flags, Mode::empty(), resolve)
            .map_err(|_| Failure::Writer)?;
        let facts = Facts::of(&real).map_err(|_| Failure::Writer)?;
        // What was copied up keeps the number of where it came from.
        let numbered = same_number(facts.state.ino, state.ino)
            || origin.is_some_and(|origin| same_number(origin, state.ino));
        let same = facts.state.ctime == state.ctime && facts.state.size == state.size;
        if !(facts.regular && numbered && same) {
            return Err(Failure::Writer);
        }
        Still::new(real).map(Some).map_err(|_| Failure::Writer)
    }

    /// Whether deleting the file frees its space: the layers of an image stay.
    pub(super) fn owns(&self, state: &State) -> bool {
        !(matches!(self.kind, Kind::Overlay(_)) && self.lease_holds(state))
    }

    /// Whether the file is on the root file system, and not on one that is mounted in it.
    pub(super) fn has(&self, state: &State) -> bool {
        state.dev == self.dev
    }
}

/// Of a real inode and the overlay's: the high bits may tell the layer's file system
/// (`xino`).
const fn same_number(real: u64, shown: u64) -> bool {
    real & 0xffff_ffff == shown & 0xffff_ffff
}

/// ext2..4, XFS, btrfs, f2fs, EROFS, squashfs, overlayfs, tmpfs, ramfs (linux/magic.h).
const LOCAL: [i64; 9] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0xe0f5_e1e2,
    0x7371_7368,
    0x794c_7630,
    TIMELESS[0],
    TIMELESS[1],
];

/// Whether reading a few bytes of the file waits for a disk at most, not for a server.
pub(super) fn is_local(file: impl AsFd) -> bool {
    magic(file).is_ok_and(|magic| LOCAL.contains(&magic))
}

#[allow(clippy::useless_conversion, reason = "the field's type differs between targets")]
fn magic(file: impl AsFd) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(file)?.f_type.into())
}

/// `s_dev` of what `stat` gave.
fn kernel_dev(state: &State) -> u32 {
    FileId::kernel_dev(rustix::fs::major(state.dev), rustix::fs::minor(state.dev))
}
