//! A layer from a directory: one walker that reads directories, and a thread per core that
//! looks into files and hashes those that hold code.
//!
//! Every directory is opened from the root's descriptor with `RESOLVE_BENEATH` and no
//! symlink, and must be the inode that was listed; every file from its directory's
//! descriptor. Nothing but regular files is opened.

mod directory;
mod file;
mod scan;

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use crate::error::Error;
use crate::layer::{Layer, Node, Path};
use crate::options::check;
use crate::{Options, Progress};

use directory::Seen;
use scan::{Inode, Scan};

/// Files handed to a hasher at once: enough that the hand-over costs nothing beside the
/// `open` of each.
const BATCH: usize = 32;

/// Batches that wait. Each holds a directory open, so this also bounds descriptors; when
/// full, the walker waits.
const QUEUE: usize = 64;

/// Some files of one directory.
struct Batch {
    dir: Arc<OwnedFd>,
    /// The directory's path in the layer.
    at: Arc<[u8]>,
    names: Vec<CString>,
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
    Ok(Layer { algorithms: options.algorithms, nodes, implied: Vec::new() })
}

/// What one worker did.
#[derive(Default)]
struct Done {
    nodes: Vec<(Path, Node)>,
    /// Names of an inode that another worker was hashing.
    later: Vec<(Arc<OwnedFd>, Path, CString)>,
}

impl Scan<'_> {
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
                check(self.progress)?;
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
            check(self.progress)?;
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
