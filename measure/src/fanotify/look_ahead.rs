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
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lacre_types::{CanonicalPath, Known};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2};

use super::event_file::Facts;
use super::groups::Asking;
use super::ignore_marks::ignore_data;
use super::limits::STACK;
use super::root::Root;
use super::seat::Seat;

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
    shared: Arc<Shared>,
    row: usize,
    last: Instant,
    recent: VecDeque<Vec<u8>>,
    idle: Duration,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    asking: Arc<Asking>,
    seat: Arc<Seat>,
    known: Arc<dyn Known>,
    root: Arc<Root>,
    /// The container's root directory.
    at: OwnedFd,
}

#[derive(Default)]
struct Queue {
    directories: VecDeque<Vec<u8>>,
    works: bool,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookAhead {
    pub(super) fn new(
        (asking, seat): (Arc<Asking>, Arc<Seat>),
        known: Arc<dyn Known>,
        (root, at): (Arc<Root>, OwnedFd),
        idle: Duration,
    ) -> Self {
        let (queue, work) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { queue, work, asking, seat, known, root, at });
        Self { shared, row: 0, last: Instant::now(), recent: VecDeque::new(), idle }
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
        self.submit(directory.to_vec());
    }

    fn submit(&self, directory: Vec<u8>) {
        let mut queue = self.shared.lock();
        if queue.directories.len() >= DIRECTORIES {
            // Who asks has gone on from there.
            queue.directories.pop_front();
        }
        queue.directories.push_back(directory);
        if !queue.works {
            let (shared, idle) = (Arc::clone(&self.shared), self.idle);
            let started = std::thread::Builder::new()
                .name("fanotify-ahead".to_owned())
                .stack_size(STACK)
                .spawn(move || run(&shared, idle));
            queue.works = started.is_ok();
        }
        drop(queue);
        self.shared.work.notify_one();
    }
}

impl Drop for LookAhead {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

fn run(shared: &Shared, idle: Duration) {
    let mut queue = shared.lock();
    while !queue.closed {
        let Some(directory) = queue.directories.pop_front() else {
            let (woken, timed) =
                shared.work.wait_timeout(queue, idle).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if timed.timed_out() && queue.directories.is_empty() {
                break;
            }
            continue;
        };
        drop(queue);
        // What can't be looked at now is asked about.
        let _ = shared.look_through(&directory);
        queue = shared.lock();
    }
    queue.works = false;
}

impl Shared {
    fn look_through(&self, directory: &[u8]) -> rustix::io::Result<()> {
        let path = Path::new(std::ffi::OsStr::from_bytes(directory));
        // No other mount: nothing of it is the image's.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat2(&self.at, path, flags, Mode::empty(), resolve)?;
        for entry in Dir::read_from(&opened)?.take(FILES) {
            let entry = entry?;
            if self.lock().closed {
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
