//! By which way a thread opens a file, from what it asked for.
//!
//! The kernel tells what a file is called now, and who can rename it may do so while the question
//! waits. By which name somebody asked for it is his own memory's, and where that name leads the
//! directories say: a name that lies in another place than the file is one that was moved, unless
//! a link has led from there all the time.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lacre_types::CanonicalPath;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, readlinkat, statx};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::event_file::{Facts, State, names};
use super::opener::link;
use super::system_call::{Asked, asked};

/// Links that are followed at the end of a name, as many as the kernel follows in all.
const LINKS: usize = 40;

/// What is moved while a question waits was moved this long ago at most: as long as nobody looks at
/// a question, and a process is not at its turn.
const JUST_NOW: i64 = 2;

/// Where a thread's way led.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// The names of what it came to, one for each link at the end of the name, and the one that it
    /// asked for.
    pub(super) places: Vec<CanonicalPath>,
    /// The device and inode that it leads to now.
    end: Option<(u64, u64)>,
}

impl Way {
    /// That of a thread which waits in an open; `None` where the kernel does not tell. It may wait
    /// for the thread's memory, and for a server.
    pub(super) fn of(thread: u32) -> Option<Self> {
        let Asked { directory, name } = asked(thread)?;
        let from = match directory {
            _ if name.starts_with(b"/") => Vec::new(),
            None => link(thread, "cwd").ok()?,
            Some(number) => link(thread, &format!("fd/{number}")).ok()?,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{thread}/root"), flags, Mode::empty()).ok()?;
        // As the thread sees it: what it was told of by the kernel begins at everybody's root.
        let its = link(thread, "root").ok()?;
        let from = from.strip_prefix(its.strip_suffix(b"/").unwrap_or(&its)).unwrap_or(&from);
        Some(Self::from(
            &root,
            PathBuf::from(OsStr::from_bytes(from)).join(OsStr::from_bytes(&name)),
        ))
    }

    fn from(root: &OwnedFd, mut path: PathBuf) -> Self {
        let mut way = Self::default();
        way.passes(path.as_os_str().as_bytes());
        for _ in 0..LINKS {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { break };
            let Ok(at) = directory(root, parent) else { break };
            let Ok(facts) = Facts::of(&at) else { break };
            let Some(place) = names(at.as_fd(), &facts, None).into_iter().next() else { break };
            way.passes(&[place.as_bytes(), b"/", name.as_bytes()].concat());
            match readlinkat(&at, name, Vec::new()) {
                Ok(to) => path = parent.join(OsStr::from_bytes(to.as_bytes())),
                Err(_) => {
                    way.end = inode(&at, name);
                    break;
                }
            }
        }
        way
    }

    fn passes(&mut self, place: &[u8]) {
        if let Ok(place) = CanonicalPath::new(place)
            && !self.places.contains(&place)
        {
            self.places.push(place);
        }
    }

    /// Whether it leads to that file, and did all the time that somebody may have waited: neither
    /// the file, which has that name now, nor a directory above it changed its place.
    pub(super) fn has_led_to(&self, state: &State, name: &CanonicalPath, thread: u32) -> bool {
        self.end == Some((state.dev, state.ino))
            && is_old(state.ctime.0)
            && stands_still(name, thread).unwrap_or(false)
    }
}

/// Whether no directory above that name was renamed just now.
fn stands_still(name: &CanonicalPath, thread: u32) -> rustix::io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{thread}/root"), flags, Mode::empty())?;
    let path = Path::new(OsStr::from_bytes(name.as_bytes()));
    for above in path.ancestors().skip(1).take_while(|above| above.parent().is_some()) {
        if !is_old(Facts::of(directory(&root, above)?).map_err(|_| Errno::IO)?.state.ctime.0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_old(seconds: i64) -> bool {
    seconds < clock_gettime(ClockId::Realtime).tv_sec - JUST_NOW
}

/// A directory as that root has it. It may wait for a server, as who reads a file does.
fn directory(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn inode(at: &OwnedFd, name: &OsStr) -> Option<(u64, u64)> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let stat = statx(at, name, flags, StatxFlags::INO).ok()?;
    Some((rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}
