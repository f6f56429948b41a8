//! What will be asked about in a moment.
//!
//! Who unpacks, searches or copies an image opens one file after the other, and waits for an
//! answer at each. Once many are asked about in a row, the rest of their directory is looked at
//! before anybody asks: what is data that came with the image has its ignore mark then, by the
//! same test as if it had been asked about (`decision.rs`).
//!
//! A thread of its own does so, which nobody waits for. It opens directories alone, which no
//! question is about, and has files by `O_PATH`, which is no open.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lacre_types::{CanonicalPath, Known};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2};

use super::event_file::Facts;
use super::groups::Asking;
use super::ignore_marks::ignore_data;
use super::root::Root;
use super::seat::Seat;
use crate::thread_pool::{Terms, ThreadPool};

/// How many questions in a row begin it. 16: a program's start asks about fewer.
const ROW: usize = 16;
/// How far apart questions are in a row.
const APART: Duration = Duration::from_millis(100);
/// Directories that wait, or were looked at in this row: those of a deep tree that is gone
/// through in turns.
const DIRECTORIES: usize = 64;
/// Files of one directory that are looked at, some 4 µs each.
const FILES: usize = 1 << 16;

/// Sees the questions, and has what follows them looked at. Dropping it ends the thread at its
/// next file.
pub(super) struct LookAhead {
    pool: ThreadPool<Vec<u8>>,
    row: usize,
    last: Instant,
    recent: VecDeque<Vec<u8>>,
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
        let terms = Terms {
            name: "fanotify-ahead",
            threads: 1,
            nice: None,
            idle,
            waiting: DIRECTORIES,
            deferred: 0,
        };
        let look = Look { asking, seat, known, root, at };
        let pool = ThreadPool::new(terms, move |directory: Vec<u8>, ended: &AtomicBool| {
            // What can't be looked at now is asked about.
            let _ = look.look_through(&directory, ended);
        });
        Self { pool, row: 0, last: Instant::now(), recent: VecDeque::new() }
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
        let _ = self.pool.submit_last(directory.to_vec());
    }
}

impl Look {
    fn look_through(&self, directory: &[u8], ended: &AtomicBool) -> rustix::io::Result<()> {
        let path = Path::new(std::ffi::OsStr::from_bytes(directory));
        // No other mount: nothing of it is the image's.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat2(&self.at, path, flags, Mode::empty(), resolve)?;
        for entry in Dir::read_from(&opened)?.take(FILES) {
            let entry = entry?;
            if ended.load(Ordering::Relaxed) {
                break;
            }
            if entry.file_type() != FileType::RegularFile {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(file) = openat(&opened, entry.file_name(), flags, Mode::empty()) else {
                continue;
            };
            let parent = directory.strip_suffix(b"/").unwrap_or(directory);
            let name = [parent, b"/", entry.file_name().to_bytes()].concat();
            let (Ok(facts), Ok(name)) = (Facts::of(&file), CanonicalPath::new(&name)) else {
                continue;
            };
            if self.root.is_data_of_image(&*self.known, &facts, &name) {
                let ignored = ignore_data(&self.asking.group, file.as_fd(), &facts.state);
                if let Err(failure) = ignored {
                    self.seat.note(failure);
                }
            }
        }
        Ok(())
    }
}
