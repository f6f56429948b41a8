//! The files and directories of one container's upper layer that are listened to, and what of
//! them waits to be verified anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacre_sys::attributes::Handle;
use lacre_types::CanonicalPath;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::fanotify::{Groups, Telling};
use crate::files::regular;

/// Files that may wait to be verified anew, and entries that one look into directories takes:
/// 16,384, more than an image has of code. One more is learnt of when it is used.
pub(super) const WAITING: usize = 16_384;

/// Directories of the image that are listened to, each for 1 KiB of the kernel's memory, once
/// something of theirs was copied up. In one more it is learnt of when it is used.
const DIRECTORIES: usize = 4096;

/// Files of the image that are watched, each for some 100 bytes of the kernel's memory beside its
/// inode's, once they were copied up. As many as may wait.
const FILES: usize = WAITING;

/// The watched files of the upper directory, by the names that they have in the image.
#[derive(Default)]
pub(super) struct Files {
    handles: BTreeMap<CanonicalPath, Handle>,
    /// More than one where an overlay keeps an image's links (`index=on`).
    paths: HashMap<Handle, BTreeSet<CanonicalPath>>,
}

impl Files {
    /// The file of that name is this one from now on. What was it before and has no name of the
    /// image's any more is given back.
    fn put(&mut self, path: &CanonicalPath, handle: Handle) -> Option<Handle> {
        self.paths.entry(handle.clone()).or_default().insert(path.clone());
        let old = self.handles.insert(path.clone(), handle.clone()).filter(|old| *old != handle)?;
        let names = self.paths.get_mut(&old)?;
        names.remove(path);
        names.is_empty().then(|| {
            self.paths.remove(&old);
            old
        })
    }

    /// Below the upper directory.
    pub(super) fn names_of(&self, file: &Handle) -> Vec<PathBuf> {
        let below = |path: &CanonicalPath| {
            let path = path.as_bytes();
            PathBuf::from(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
        };
        self.paths.get(file).into_iter().flatten().map(below).collect()
    }

    fn has_room_for(&self, path: &CanonicalPath) -> bool {
        self.handles.len() < FILES || self.handles.contains_key(path)
    }
}

/// What was changed and is not verified yet. Whatever changes a file of an overlay does so in
/// the upper directory, after a copy-up where that is the first.
pub(super) struct Changed {
    pub(super) upper: PathBuf,
    pub(super) lower: Vec<PathBuf>,
    /// The upper directory, for handles.
    pub(super) at: File,
    pub(super) telling: Arc<Telling>,
    /// Below the upper directory.
    listened: Mutex<BTreeSet<PathBuf>>,
    files: Mutex<Files>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub(super) paths: BTreeSet<CanonicalPath>,
    /// One thread at a time, so that another is free for what was killed.
    pub(super) at_work: bool,
}

impl Changed {
    /// For the upper directory of a container's root; nothing is listened to yet.
    ///
    /// # Errors
    /// What a person should know of, where nothing can be told of changes.
    pub(super) fn of(groups: &Groups, upper: &Path, lower: &[PathBuf]) -> Result<Self, String> {
        // As the links of /proc have it.
        let upper = upper.canonicalize().map_err(why)?;
        let at = File::open(&upper).map_err(why)?;
        let telling = groups.telling().map_err(why)?;
        let (listened, files, waiting) = <_>::default();
        Ok(Self { upper, lower: lower.to_vec(), at, telling, listened, files, waiting })
    }

    /// The group, which is readable when something changed.
    pub(super) fn telling(&self) -> &Arc<Telling> {
        &self.telling
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, relative: &Path) -> Option<OwnedFd> {
        self.open_as(relative, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn open_as(&self, relative: &Path, flags: OFlags) -> Option<OwnedFd> {
        let own = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.at, own, flags, Mode::empty(), resolve).ok()
    }

    /// Listens to a directory of the image, of whose files some are in the upper directory
    /// now, and gives what is in it already. One that the container made holds no file of
    /// the image.
    pub(super) fn listen(&self, relative: &Path) -> Vec<PathBuf> {
        let is_images = self.lower.iter().any(|dir| dir.join(relative).is_dir());
        let mut listened = self.listened.lock().unwrap_or_else(PoisonError::into_inner);
        let is_room = listened.len() < DIRECTORIES || listened.contains(relative);
        let Some(dir) = self.open(relative).filter(|_| is_images && is_room) else {
            return Vec::new();
        };
        if self.telling.watch(dir.as_fd()).is_err() {
            return Vec::new();
        }
        listened.insert(relative.to_owned());
        // After the mark: what comes now is told.
        let Ok(entries) = rustix::fs::Dir::read_from(&dir) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_bytes().to_vec());
        names
            .filter(|name| name != b"." && name != b"..")
            .take(WAITING)
            .map(|name| relative.join(OsStr::from_bytes(&name)))
            .collect()
    }

    /// Watches a file of the image that is in the upper directory now: before it is verified, so
    /// that no change of it is between.
    pub(super) fn watch(&self, relative: &Path, path: &CanonicalPath) {
        let Some(file) = self.open_as(relative, OFlags::PATH) else { return };
        let mut files = self.files();
        if regular(file.as_fd()).is_err() || !files.has_room_for(path) {
            return;
        }
        // Where it can't be, what is done by other names is learnt of when it is used.
        let Ok(handle) = self.telling.watch_file(file.as_fd()) else { return };
        if let Some(old) = files.put(path, handle) {
            self.unwatch(&old);
        }
    }

    /// A file that is there, and has no name.
    pub(super) fn without_name(&self, file: &Handle) -> Option<OwnedFd> {
        let opened = file.open(self.at.as_fd()).ok()?;
        let has_none = rustix::fs::fstat(&opened).is_ok_and(|stat| stat.st_nlink == 0);
        has_none.then_some(opened)
    }

    fn unwatch(&self, file: &Handle) {
        // One that is gone took its mark with it.
        if let Ok(file) = file.open(self.at.as_fd()) {
            self.telling.unwatch_file(file.as_fd());
        }
    }

    /// The path below the upper directory that was told.
    pub(super) fn told(&self, dir: &Handle, name: &[u8]) -> Option<PathBuf> {
        let dir = dir.open(self.at.as_fd()).ok()?;
        let link = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()?;
        Some(link.strip_prefix(&self.upper).ok()?.join(OsStr::from_bytes(name)))
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        // The group may outlive this container.
        let listened = self.listened.get_mut().unwrap_or_else(PoisonError::into_inner);
        for relative in std::mem::take(listened) {
            if let Some(dir) = self.open(&relative) {
                self.telling.unwatch(dir.as_fd());
            }
        }
        let files = std::mem::take(self.files.get_mut().unwrap_or_else(PoisonError::into_inner));
        files.paths.keys().for_each(|file| self.unwatch(file));
    }
}

/// What follows where nothing can be told of changes.
pub(super) fn why(why: std::io::Error) -> String {
    format!(
        "files of the image whose owner, mode, time or name was changed are killed at their \
         first use, and then known: {why}"
    )
}
