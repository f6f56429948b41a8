//! A layer from a directory: one walker that reads directories, and a thread per core that
//! looks into files and hashes those that hold code.
//!
//! Every directory is opened from the root's descriptor with `RESOLVE_BENEATH` and no
//! symlink, and must be the inode that was listed; every file from its directory's
//! descriptor. Nothing but regular files is opened.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use lacre_types::{CanonicalPath, FileId};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags, fgetxattr,
    openat, openat2, readlinkat, statx,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::hash::Row;
use crate::layer::{Layer, Node, Path};
use crate::{Options, Progress};

mod file;

/// Files handed to a hasher at once: enough that the hand-over costs nothing beside the
/// `open` of each.
const BATCH: usize = 32;

/// Batches that wait. Each holds a directory open, so this also bounds descriptors; when
/// full, the walker waits.
const QUEUE: usize = 64;

/// Device, as in `s_dev`, and inode number.
type Inode = (u32, u64);

/// Some files of one directory.
struct Batch {
    dir: Arc<OwnedFd>,
    /// The directory's path in the layer.
    at: Arc<[u8]>,
    names: Vec<CString>,
}

/// What the threads of one scan share.
struct Scan<'a> {
    root: &'a FsPath,
    options: &'a Options,
    progress: &'a dyn Progress,
    stop: AtomicBool,
    /// Inodes with more than one name, each hashed once; `None` while somebody is at it.
    links: Mutex<HashMap<Inode, Option<(FileId, Row)>>>,
}

/// Opens a directory to be scanned. Its own path may lead through symbolic links
/// (Docker's lower directories do).
pub(crate) fn open_root(root: &FsPath) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, root, flags, Mode::empty()).map_err(|e| Error::io("open the directory", root, e))
}

/// Scans one lower directory, or the whole of a root file system. A mount point within is
/// not entered: what is mounted there did not come with the image.
pub(crate) fn scan_dir(
    root: &FsPath,
    fd: &OwnedFd,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Layer, Error> {
    let scan =
        Scan { root, options, progress, stop: AtomicBool::new(false), links: Mutex::default() };
    let (batches, queue) = sync_channel(QUEUE);
    let queue = Mutex::new(queue);
    let mut nodes = Vec::new();
    let (walked, hashed) = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..scan.options.threads()).map(|_| scope.spawn(|| scan.work(&queue))).collect();
        let walked = scan.walk(fd, batches, &mut nodes);
        if walked.is_err() {
            scan.stop.store(true, Ordering::Relaxed);
        }
        let hashed: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        (walked, hashed)
    });
    let mut later = Vec::new();
    let mut failures: Vec<Error> = walked.err().into_iter().collect();
    for worker in hashed {
        match worker {
            Ok(Ok(done)) => {
                nodes.extend(done.nodes);
                later.extend(done.later);
            }
            Ok(Err(error)) => failures.push(error),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    // One thread's failure cancels the others; it is the one to tell.
    failures.sort_by_key(Error::is_cancelled);
    if let Some(error) = failures.into_iter().next() {
        return Err(error);
    }
    let mut buffer = file::buffer();
    for (dir, path, name) in later {
        let node = scan.look(dir.as_fd(), &path, &name, &mut buffer, true)?;
        nodes.extend(node.map(|node| (path, node)));
    }
    nodes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Layer { algorithms: options.algorithms, nodes })
}

/// What one worker did.
#[derive(Default)]
struct Done {
    nodes: Vec<(Path, Node)>,
    /// Names of an inode that another worker was hashing.
    later: Vec<(Arc<OwnedFd>, Path, CString)>,
}

impl Scan<'_> {
    fn shown(&self, path: &[u8]) -> PathBuf {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        if relative.is_empty() {
            return self.root.to_owned();
        }
        self.root.join(OsStr::from_bytes(relative))
    }

    fn io(&self, doing: &'static str, path: &[u8], errno: Errno) -> Error {
        Error::io(doing, self.shown(path), errno)
    }

    fn walk(
        &self,
        root: &OwnedFd,
        batches: SyncSender<Batch>,
        nodes: &mut Vec<(Path, Node)>,
    ) -> Result<(), Error> {
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = 0;
        let mut todo: Vec<(Path, Option<Inode>)> = vec![(Path::default(), None)];
        while let Some((path, listed)) = todo.pop() {
            let Some(dir) = self.open_dir(root, &path, listed)? else {
                nodes.push((path, Node::Dir { opaque: false }));
                continue;
            };
            let opaque = self.opaque(&dir, &path)?;
            nodes.push((path.clone(), Node::Dir { opaque }));
            let dir = Arc::new(dir);
            let at: Arc<[u8]> = path.into();
            let mut names = Vec::new();
            let mut listing = RawDir::new(&dir, buffer.spare_capacity_mut());
            while let Some(entry) = listing.next() {
                let entry = entry.map_err(|e| self.io("list", &at, e))?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                entries += 1;
                if entries > self.options.limits.entries {
                    let limit = self.options.limits.entries;
                    return Err(Error::TooManyEntries {
                        what: crate::error::shown(self.root),
                        limit,
                    });
                }
                let path = self.join(&at, name.to_bytes())?;
                match self.file_type(&dir, &path, name, entry.file_type())? {
                    Seen::File => names.push(name.to_owned()),
                    Seen::Dir(inode) => todo.push((path, Some(inode))),
                    Seen::Node(node) => nodes.push((path, node)),
                    Seen::Nothing => {}
                }
                if names.len() == BATCH {
                    self.hand_over(&batches, &dir, &at, &mut names)?;
                }
            }
            if !names.is_empty() {
                self.hand_over(&batches, &dir, &at, &mut names)?;
            }
        }
        Ok(())
    }

    fn hand_over(
        &self,
        batches: &SyncSender<Batch>,
        dir: &Arc<OwnedFd>,
        at: &Arc<[u8]>,
        names: &mut Vec<CString>,
    ) -> Result<(), Error> {
        self.progress.found(names.len() as u64);
        let names = std::mem::take(names);
        let batch = Batch { dir: Arc::clone(dir), at: Arc::clone(at), names };
        batches.send(batch).map_err(|_| self.io("hash files in", at, Errno::CANCELED))
    }

    fn join(&self, at: &[u8], name: &[u8]) -> Result<Path, Error> {
        let len = at.len() + 1 + name.len();
        let path = [at, b"/", name].concat();
        if len > CanonicalPath::MAX {
            let start = path[..60].to_vec();
            return Err(Error::PathTooLong { within: self.root.to_owned(), len, start });
        }
        Ok(path.into())
    }

    /// `None` when something is mounted there.
    fn open_dir(
        &self,
        root: &OwnedFd,
        path: &[u8],
        listed: Option<Inode>,
    ) -> Result<Option<OwnedFd>, Error> {
        let relative = path.strip_prefix(b"/").unwrap_or(b".");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let fd = match openat2(root, relative, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(Errno::XDEV) => return Ok(None),
            Err(errno) => return Err(self.io("open the directory", path, errno)),
        };
        if let Some(listed) = listed {
            let stat = self.stat(&fd, c"", path)?;
            if inode(&stat) != listed {
                return Err(Error::Changing { path: self.shown(path), tries: 1 });
            }
        }
        Ok(Some(fd))
    }

    fn opaque(&self, dir: &OwnedFd, path: &[u8]) -> Result<bool, Error> {
        let mut value = [0; 1];
        match fgetxattr(dir, c"trusted.overlay.redirect", &mut [0u8; 0][..]) {
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Ok(_) => return Err(Error::Redirect { path: self.shown(path) }),
            Err(errno) => return Err(self.io("read overlayfs's attributes of", path, errno)),
        }
        match fgetxattr(dir, c"trusted.overlay.opaque", &mut value[..]) {
            // `x` marks a directory that holds whiteouts as attributes, and hides nothing.
            Ok(len) => Ok(len == 1 && value == *b"y"),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
            Err(errno) => Err(self.io("read overlayfs's attributes of", path, errno)),
        }
    }

    fn stat(&self, dir: impl AsFd, name: &std::ffi::CStr, path: &[u8]) -> Result<Statx, Error> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        statx(dir, name, flags, StatxFlags::BASIC_STATS).map_err(|e| self.io("stat", path, e))
    }

    fn file_type(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        name: &std::ffi::CStr,
        told: FileType,
    ) -> Result<Seen, Error> {
        Ok(match told {
            FileType::RegularFile => Seen::File,
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())
                    .map_err(|e| self.io("read the symbolic link", path, e))?;
                Seen::Node(Node::Symlink(target.into_bytes().into()))
            }
            FileType::Fifo | FileType::Socket | FileType::BlockDevice => Seen::Node(Node::Other),
            FileType::Directory => Seen::Dir(inode(&self.stat(dir, name, path)?)),
            FileType::CharacterDevice => match self.stat(dir, name, path) {
                Ok(stat) if (stat.stx_rdev_major, stat.stx_rdev_minor) == (0, 0) => {
                    Seen::Node(Node::Whiteout)
                }
                Ok(_) => Seen::Node(Node::Other),
                // A mounted overlay lists a whiteout of its lowest layer, and denies it.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Seen::Nothing
                }
                Err(error) => return Err(error),
            },
            FileType::Unknown => {
                let told = FileType::from_raw_mode(self.stat(dir, name, path)?.stx_mode.into());
                if told == FileType::Unknown {
                    return Ok(Seen::Node(Node::Other));
                }
                return self.file_type(dir, path, name, told);
            }
        })
    }

    fn work(&self, queue: &Mutex<Receiver<Batch>>) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut buffer = file::buffer();
        loop {
            let batch = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return Ok(done) };
            if self.stop.load(Ordering::Relaxed) {
                continue; // drain, so that the walker never waits
            }
            if let Err(error) = self.work_on(&batch, &mut buffer, &mut done) {
                self.stop.store(true, Ordering::Relaxed);
                while queue.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok() {}
                return Err(error);
            }
        }
    }

    fn work_on(&self, batch: &Batch, buffer: &mut [u8], done: &mut Done) -> Result<(), Error> {
        for name in &batch.names {
            let path = self.join(&batch.at, name.to_bytes())?;
            match self.look(batch.dir.as_fd(), &path, name, buffer, false)? {
                Some(node) => done.nodes.push((path, node)),
                None => done.later.push((Arc::clone(&batch.dir), path, name.clone())),
            }
            self.progress.looked(1);
        }
        Ok(())
    }
}

enum Seen {
    File,
    Dir(Inode),
    Node(Node),
    Nothing,
}

fn inode(stat: &Statx) -> Inode {
    (FileId::kernel_dev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
}
