//! What will be asked about in a moment.
//!
//! Who unpacks, searches or copies an image opens one file after the other, and waits for an
//! answer at each. Once many are asked about in a row, the rest of their directory is looked at
//! before anybody asks: what is data that came with the image has its ignore mark then, by the
//! same test as if it had been asked about (`decision.rs`).
//!
//! Threads of their own do so, which nobody waits for. They open directories alone, which no
//! question is about, and have files by `O_PATH`, which is no open. To look at a file takes twice as
//! long as to open it: with one thread, who opens would come upon it again and again.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lacre_types::{CanonicalPath, Known};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2};

use super::event_file::Facts;
use super::groups::Asking;
use super::ignore_marks::ignore_data;
use super::root::Root;
use super::seat::{Seat, lock};
use crate::thread_pool::{Terms, ThreadPool};

/// How many questions in a row begin it. 16: a program's start asks about fewer.
const ROW: usize = 16;
/// How far apart questions are in a row.
const APART: Duration = Duration::from_millis(100);
/// Directories that wait, or were looked at in this row: those of a deep tree that is gone
/// through in turns.
const DIRECTORIES: usize = 64;
/// Files of one directory that are looked at, some 8 µs each.
const FILES: usize = 1 << 16;
/// Threads that go through a directory together, where the node has as many processors.
const THREADS: usize = 2;

/// Sees the questions, and has what follows them looked at. Dropping it ends the threads at their
/// next file.
pub(super) struct LookAhead {
    pool: ThreadPool<Arc<Directory>>,
    threads: usize,
    row: usize,
    last: Instant,
    recent: VecDeque<Vec<u8>>,
}

/// A directory that threads go through together, file by file.
struct Directory {
    path: Vec<u8>,
    files: Mutex<Files>,
}

enum Files {
    /// Nobody has come to it yet.
    Unopened,
    Open(std::iter::Take<Dir>, Arc<OwnedFd>),
    End,
}

struct Look {
    asking: Arc<Asking>,
    seat: Arc<Seat>,
    known: Arc<dyn Known>,
    root: Arc<Root>,
    /// The container's root directory.
    at: OwnedFd,
}

impl LookAhead {
    pub(super) fn new(
        (asking, seat): (Arc<Asking>, Arc<Seat>),
        known: Arc<dyn Known>,
        (root, at): (Arc<Root>, OwnedFd),
        idle: Duration,
    ) -> Self {
        let threads =
            std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS);
        let terms = Terms {
            name: "fanotify-ahead",
            threads,
            nice: None,
            idle,
            waiting: DIRECTORIES * threads,
            deferred: 0,
            spare: None,
        };
        let look = Look { asking, seat, known, root, at };
        let pool = ThreadPool::new(terms, move |directory: Arc<Directory>, ended: &AtomicBool| {
            // What can't be looked at now is asked about.
            let _ = look.look_through(&directory, ended);
        });
        Self { pool, threads, row: 0, last: Instant::now(), recent: VecDeque::new() }
    }

    /// A file of that name was asked about, and was the image's data.
    pub(super) fn asked(&mut self, path: &CanonicalPath) {
        let now = Instant::now();
        if now.duration_since(self.last) > APART {
            self.row = 0;
            self.recent.clear();
        }
        self.last = now;
        self.row += 1;
        let path = path.as_bytes();
        let Some(end) = path.iter().rposition(|byte| *byte == b'/') else { return };
        let directory = path.get(..end).filter(|dir| !dir.is_empty()).unwrap_or(b"/");
        if self.row < ROW || self.recent.iter().any(|recent| recent == directory) {
            return;
        }
        if self.recent.len() >= DIRECTORIES {
            self.recent.pop_front();
        }
        self.recent.push_back(directory.to_vec());
        // Where too many wait, who asks has gone on from the oldest. What nobody looks at is asked
        // about.
        let directory =
            Arc::new(Directory { path: directory.to_vec(), files: Mutex::new(Files::Unopened) });
        for _ in 0..self.threads {
            let _ = self.pool.submit_last(Arc::clone(&directory));
        }
    }
}

impl Look {
    /// Takes its part in looking through a directory.
    fn look_through(&self, directory: &Directory, ended: &AtomicBool) -> rustix::io::Result<()> {
        while !ended.load(Ordering::Relaxed) {
            let Some((opened, name)) = self.next(directory)? else { break };
            self.look_at(&opened, &directory.path, &name);
        }
        Ok(())
    }

    /// The next file that nobody has looked at.
    fn next(&self, directory: &Directory) -> rustix::io::Result<Option<(Arc<OwnedFd>, CString)>> {
        let mut files = lock(&directory.files);
        if matches!(*files, Files::Unopened) {
            // Whoever comes after a failure has nothing to go through.
            *files = Files::End;
            *files = self.open(&directory.path)?;
        }
        let Files::Open(entries, opened) = &mut *files else { return Ok(None) };
        for entry in entries.by_ref() {
            let entry = entry?;
            if entry.file_type() == FileType::RegularFile {
                return Ok(Some((Arc::clone(opened), entry.file_name().to_owned())));
            }
        }
        *files = Files::End;
        Ok(None)
    }

    fn open(&self, path: &[u8]) -> rustix::io::Result<Files> {
        let path = Path::new(OsStr::from_bytes(path));
        // No other mount: nothing of it is the image's.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat2(&self.at, path, flags, Mode::empty(), resolve)?;
        Ok(Files::Open(Dir::read_from(&opened)?.take(FILES), Arc::new(opened)))
    }

    fn look_at(&self, opened: &OwnedFd, directory: &[u8], name: &CStr) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = openat(opened, name, flags, Mode::empty()) else { return };
        let parent = directory.strip_suffix(b"/").unwrap_or(directory);
        let name = [parent, b"/", name.to_bytes()].concat();
        let (Ok(facts), Ok(name)) = (Facts::of(&file), CanonicalPath::new(&name)) else { return };
        if self.root.is_data_of_image(&*self.known, &facts, &name) {
            let ignored = ignore_data(&self.asking.group, file.as_fd(), &facts.state);
            if let Err(failure) = ignored {
                self.seat.note(failure);
            }
        }
    }
}
