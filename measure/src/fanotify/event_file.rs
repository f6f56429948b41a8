//! What an event is about: which state of which file, under which name, by whom.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lacre_types::{CanonicalPath, Digest, Event, Process};
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

/// One state of one file, as `statx` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) size: u64,
    /// Seconds, nanoseconds. On overlayfs that of the real inode.
    pub(super) ctime: (i64, u32),
}

/// A state, and what else tells whether to care.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) state: State,
    pub(super) regular: bool,
    /// No name is left.
    pub(super) nameless: bool,
    /// The mount that it was opened through; 0 where the kernel does not tell (before 5.8).
    pub(super) mount: u64,
}

impl Facts {
    /// Without asking the server or the process that may stand behind its file system.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(file, c"", flags, wanted)?;
        Ok(Self {
            state: State {
                dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
                ino: stat.stx_ino,
                size: stat.stx_size,
                ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            },
            regular: FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile,
            nameless: stat.stx_nlink == 0,
            mount: if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 { 0 } else { stat.stx_mnt_id },
        })
    }
}

/// What a measurement will be made of.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) event: Event,
    pub(super) path: Option<CanonicalPath>,
    pub(super) state: State,
    pub(super) process: Process,
    /// What it holds, there where it is a file of the image as it came.
    pub(super) digest: Option<Digest>,
    /// It is not asked about to be judged: it goes on whatever it holds.
    pub(super) held: bool,
}

/// The suffix that d_path (fs/d_path.c) gives a name that is no more.
const DELETED: &[u8] = b" (deleted)";

/// The names that an open file may have in the container, the likelier first: a name may
/// itself end with ` (deleted)`, and an image's file that was deleted keeps its links.
/// Empty when it is longer than `PATH_MAX`, which the kernel doesn't tell.
pub(super) fn names(file: impl AsFd, facts: &Facts, prefix: Option<&Path>) -> Vec<CanonicalPath> {
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let Ok(path) = rustix::fs::readlinkat(CWD, link, Vec::new()) else { return Vec::new() };
    let path = path.as_bytes();
    let inside = prefix.and_then(|prefix| below(path, prefix.as_os_str().as_bytes()));
    let path = inside.unwrap_or(path);
    let live = path.strip_suffix(DELETED);
    match live {
        None => vec![path],
        Some(live) if facts.nameless => vec![live],
        Some(live) => vec![path, live],
    }
    .into_iter()
    .filter_map(|path| CanonicalPath::new(path).ok())
    .collect()
}

fn below<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(prefix).filter(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_deleted_file_keeps_its_name_and_a_name_may_say_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let named = dir.path().join("x (deleted)");
        let (gone_file, named_file) = (File::create_new(&gone), File::create_new(&named));
        let (gone_file, named_file) = (gone_file.unwrap(), named_file.unwrap());
        std::fs::remove_file(&gone).unwrap();
        let of = |file: &File| names(file, &Facts::of(file).unwrap(), Some(dir.path()));
        assert_eq!(of(&gone_file), [CanonicalPath::new("/gone").unwrap()]);
        assert_eq!(of(&named_file)[0], CanonicalPath::new("/x (deleted)").unwrap());
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert_eq!(below(b"/run/c/bin/ls", b"/run/c"), Some(&b"/bin/ls"[..]));
        assert_eq!(below(b"/run/c2/bin/ls", b"/run/c"), None);
    }
}
