//! What the threads that walk one directory tree share, and how each file is hashed once.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use lacre_types::{CanonicalPath, FileId};
use rustix::fs::{AtFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;

use crate::error::Error;
use crate::hash::Row;
use crate::layer::Path;
use crate::{Options, Progress};

/// Device, as in `s_dev`, and inode number.
pub(super) type Inode = (u32, u64);

pub(super) fn inode(stat: &Statx) -> Inode {
    (FileId::kernel_dev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
}

/// What the threads of one scan share.
pub(super) struct Scan<'a> {
    pub(super) root: &'a FsPath,
    pub(super) options: &'a Options,
    pub(super) progress: &'a dyn Progress,
    pub(super) stop: AtomicBool,
    /// Inodes with more than one name, each hashed once; `None` while somebody is at it.
    pub(super) links: Mutex<HashMap<Inode, Option<(FileId, Row)>>>,
}

impl Scan<'_> {
    pub(super) fn shown(&self, path: &[u8]) -> PathBuf {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        if relative.is_empty() {
            return self.root.to_owned();
        }
        self.root.join(OsStr::from_bytes(relative))
    }

    pub(super) fn io(&self, doing: &'static str, path: &[u8], errno: Errno) -> Error {
        Error::io(doing, self.shown(path), errno)
    }

    pub(super) fn join(&self, at: &[u8], name: &[u8]) -> Result<Path, Error> {
        let len = at.len() + 1 + name.len();
        let path = [at, b"/", name].concat();
        if len > CanonicalPath::MAX {
            let start = path[..60].to_vec();
            return Err(Error::PathTooLong { within: self.root.to_owned(), len, start });
        }
        Ok(path.into())
    }

    pub(super) fn stat(&self, dir: impl AsFd, name: &CStr, path: &[u8]) -> Result<Statx, Error> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        statx(dir, name, flags, StatxFlags::BASIC_STATS).map_err(|e| self.io("stat", path, e))
    }
}
