//! One regular file: look, hash, and make sure that it held still.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use lacre_types::FileId;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Statx, fgetxattr, openat, seek};
use rustix::io::{Errno, read};

use super::scan::{Scan, inode};
use crate::error::Error;
use crate::hash::{Hasher, Row};
use crate::kind::{Nature, SNIFF};
use crate::layer::{FileNode, Node};
use crate::options::check;

/// How often a file that changes under the hash is hashed before that is an error.
const TRIES: u32 = 4;

/// Before Linux 6.13 a change within one tick (at most 10 ms, HZ=100) of the last leaves
/// no trace in ctime.
const TICK: Duration = Duration::from_millis(10);

/// Large enough that `read` costs nothing beside the hash, small enough for L2.
pub(super) fn buffer() -> Vec<u8> {
    vec![0; 256 << 10]
}

impl Scan<'_> {
    /// `None` when another worker is hashing the same inode; not with `last`, which then
    /// hashes itself.
    pub(super) fn look(
        &self,
        dir: BorrowedFd<'_>,
        path: &[u8],
        name: &CStr,
        buffer: &mut [u8],
        last: bool,
    ) -> Result<Option<Node>, Error> {
        // Non-blocking: should the name have become a FIFO, the open must not wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty()).map_err(|e| self.io("open", path, e))?;
        for _ in 0..TRIES {
            let before = self.stat(&fd, c"", path)?;
            if FileType::from_raw_mode(before.stx_mode.into()) != FileType::RegularFile {
                return Err(Error::Changing { path: self.shown(path), tries: 1 });
            }
            if self.hides(&fd, &before, path)? {
                return Ok(Some(Node::Whiteout));
            }
            settle(&before);
            let mut head = 0;
            while head < SNIFF {
                match self.read(&fd, &mut buffer[head..SNIFF], path)? {
                    0 => break,
                    len => head += len,
                }
            }
            let nature = Nature::of(&buffer[..head], before.stx_mode.into());
            let Some(kind) = nature.kind(name.to_bytes()) else {
                return Ok(Some(Node::Other));
            };
            let id = file_id(&before);
            let shared = before.stx_nlink > 1;
            let file = |digests| {
                Some(Node::File(FileNode { kind, size: before.stx_size, digests, id: Some(id) }))
            };
            if shared {
                let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                match links.get(&inode(&before)) {
                    Some(Some((hashed, digests))) if *hashed == id => {
                        return Ok(file(digests.clone()));
                    }
                    Some(None) if !last => return Ok(None),
                    _ => {
                        links.insert(inode(&before), None);
                    }
                }
            }
            if let Some(digests) = self.hash(&fd, head, &before, buffer, path)? {
                if shared {
                    let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                    links.insert(inode(&before), Some((id, digests.clone())));
                }
                return Ok(file(digests));
            }
            seek(&fd, SeekFrom::Start(0)).map_err(|e| self.io("read", path, e))?;
        }
        Err(Error::Changing { path: self.shown(path), tries: TRIES })
    }

    fn read(&self, fd: &rustix::fd::OwnedFd, into: &mut [u8], path: &[u8]) -> Result<usize, Error> {
        rustix::io::retry_on_intr(|| read(fd, &mut *into)).map_err(|e| self.io("read", path, e))
    }

    /// The digests of the file whose first `head` bytes are in `buffer`; `None` when it
    /// changed meanwhile.
    fn hash(
        &self,
        fd: &rustix::fd::OwnedFd,
        head: usize,
        before: &Statx,
        buffer: &mut [u8],
        path: &[u8],
    ) -> Result<Option<Row>, Error> {
        let mut hasher = Hasher::new(self.options.algorithms);
        let mut len = head;
        let mut total = 0;
        // A file that grows as fast as it is read must end somewhere.
        while len > 0 && total <= before.stx_size {
            hasher.update(&buffer[..len]);
            self.progress.hashed(len as u64);
            total += len as u64;
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.io("hash", path, Errno::CANCELED));
            }
            check(self.progress)?;
            len = self.read(fd, buffer, path)?;
        }
        let after = self.stat(fd, c"", path)?;
        let same = file_id(&after) == file_id(before)
            && after.stx_size == before.stx_size
            && total == before.stx_size;
        Ok(same.then(|| hasher.finish()))
    }

    /// overlayfs's second form of a whiteout (Linux 6.7): an empty file with an attribute.
    fn hides(&self, fd: &rustix::fd::OwnedFd, stat: &Statx, path: &[u8]) -> Result<bool, Error> {
        if stat.stx_size != 0 {
            return Ok(false);
        }
        match fgetxattr(fd, c"trusted.overlay.whiteout", &mut [0u8; 0][..]) {
            Ok(_) => Ok(true),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
            Err(errno) => Err(self.io("read overlayfs's attributes of", path, errno)),
        }
    }
}

fn file_id(stat: &Statx) -> FileId {
    let (dev, ino) = inode(stat);
    FileId { dev, ino, ctime_sec: stat.stx_ctime.tv_sec, ctime_nsec: stat.stx_ctime.tv_nsec }
}

/// Lets the tick of the file's last change pass, so that any later change shows.
fn settle(stat: &Statx) {
    let changed = u64::try_from(stat.stx_ctime.tv_sec).ok().and_then(|sec| {
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(sec, stat.stx_ctime.tv_nsec))
    });
    if let Some(Ok(age)) = changed.map(|changed| SystemTime::now().duration_since(changed))
        && let Some(rest) = TICK.checked_sub(age)
    {
        std::thread::sleep(rest);
    }
}
