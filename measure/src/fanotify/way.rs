//! Where the name leads by which a thread opens a file.
//!
//! The kernel tells what a file is called now, and who can rename it may do so while the question
//! waits. By which name somebody asked for it is his own memory's, and where that name leads the
//! directories say. A link is only gone by: a file lies where its inode is reached.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lacre_types::CanonicalPath;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, readlinkat};
use rustix::io::Errno;

use super::event_file::{Facts, names};
use super::opener::link;
use super::system_call::{Asked, asked};

/// Links that are followed at the end of a name, as many as the kernel follows in all.
const LINKS: usize = 40;

/// The place that a thread which waits in an open has asked for, whether anything is there now or
/// not; `None` where the kernel does not tell. It may wait for the thread's memory, and for a
/// server.
pub(super) fn asked_for(thread: u32) -> Option<CanonicalPath> {
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
    place(&root, PathBuf::from(OsStr::from_bytes(from)).join(OsStr::from_bytes(&name)))
}

fn place(root: &OwnedFd, mut path: PathBuf) -> Option<CanonicalPath> {
    for _ in 0..LINKS {
        let (parent, name) = (path.parent()?, path.file_name()?);
        let link = match directory(root, parent, ResolveFlags::empty()) {
            Ok(at) => readlinkat(&at, name, Vec::new()).ok(),
            Err(_) => None,
        };
        match link {
            Some(to) => path = parent.join(OsStr::from_bytes(to.as_bytes())),
            None => return by_links(root, parent, name).or_else(|| as_it_reads(root, &path)),
        }
    }
    None
}

/// Where links lead, by what the directory is called that they lead to; `None` where none does,
/// and who moves directories has no say.
fn by_links(root: &OwnedFd, parent: &Path, name: &OsStr) -> Option<CanonicalPath> {
    let Err(Errno::LOOP) = directory(root, parent, ResolveFlags::NO_SYMLINKS) else { return None };
    let at = directory(root, parent, ResolveFlags::empty()).ok()?;
    beneath(&at, name.as_bytes())
}

fn as_it_reads(root: &OwnedFd, path: &Path) -> Option<CanonicalPath> {
    beneath(root, path.as_os_str().as_bytes())
}

fn beneath(directory: &OwnedFd, path: &[u8]) -> Option<CanonicalPath> {
    let facts = Facts::of(directory).ok()?;
    let above = names(directory.as_fd(), &facts, None).into_iter().next()?;
    CanonicalPath::new([above.as_bytes(), b"/", path].concat()).ok()
}

/// A directory as that root has it. It may wait for a server, as who reads a file does.
fn directory(root: &OwnedFd, path: &Path, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    openat2(root, path, flags, Mode::empty(), resolve)
}
