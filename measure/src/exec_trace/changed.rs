//! Files of the image whose attributes or names changed: the same content in another state,
//! often in another inode, which the map does not have and the kernel would kill for. What
//! was changed is verified at once, and allowed before it is used, which fanotify holds
//! meanwhile. Who is faster is killed, and a record tells of it.
//!
//! Of what is changed by its name in the image its directory is told. Once copied up, a file can
//! have other names, in any directory, and be changed by them: links made, removed and renamed,
//! and what is done to them. Of all of that the file itself is told, and so it is watched too.
//! Nobody is told of flags (`FS_IOC_SETFLAGS`, Linux 6.18): who first uses such a file is killed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use lacre_sys::attributes::{Handle, Place};
use lacre_types::{CanonicalPath, Content, Event, Measurement, Process, Source, base_name};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::events::Watch;
use super::interpreters;
use crate::fanotify::{Groups, Listener, Telling};
use crate::files::{self, regular};
use crate::verified;

/// Files that may wait to be verified anew, and entries that one look into directories takes:
/// 16,384, more than an image has of code. One more is learnt of when it is used.
const WAITING: usize = 16_384;

/// Directories of the image that are listened to, each for 1 KiB of the kernel's memory, once
/// something of theirs was copied up. In one more it is learnt of when it is used.
const DIRECTORIES: usize = 4096;

/// Files of the image that are watched, each for some 100 bytes of the kernel's memory beside its
/// inode's, once they were copied up. As many as may wait.
const FILES: usize = WAITING;

/// The watched files of the upper directory, by the names that they have in the image.
#[derive(Default)]
struct Files {
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
    fn names_of(&self, file: &Handle) -> Vec<PathBuf> {
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
    upper: PathBuf,
    lower: Vec<PathBuf>,
    /// The upper directory, for handles.
    at: File,
    telling: Arc<Telling>,
    /// Below the upper directory.
    listened: Mutex<BTreeSet<PathBuf>>,
    files: Mutex<Files>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    paths: BTreeSet<CanonicalPath>,
    /// One thread at a time, so that another is free for what was killed.
    at_work: bool,
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
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
    fn listen(&self, relative: &Path) -> Vec<PathBuf> {
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
    fn watch(&self, relative: &Path, path: &CanonicalPath) {
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

    fn unwatch(&self, file: &Handle) {
        // One that is gone took its mark with it.
        if let Ok(file) = file.open(self.at.as_fd()) {
            self.telling.unwatch_file(file.as_fd());
        }
    }

    /// The path below the upper directory that was told.
    fn told(&self, dir: &Handle, name: &[u8]) -> Option<PathBuf> {
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

/// Listens to the upper directory from now on, and to what is in it already: a snapshot that ran
/// before has what was changed then.
///
/// # Errors
/// As [`Changed::of`].
pub(super) fn begin(watch: &Arc<Watch>) -> Result<(), String> {
    let Some(changed) = watch.changed.get() else { return Ok(()) };
    let listener: Weak<Watch> = Arc::downgrade(watch);
    changed.telling.join(listener);
    changed.telling.watch(changed.at.as_fd()).map_err(why)?;
    catch_up(watch);
    Ok(())
}

fn why(why: std::io::Error) -> String {
    format!(
        "files of the image whose owner, mode, time or name was changed are killed at their \
         first use, and then known: {why}"
    )
}

impl Listener for Watch {
    fn told(self: Arc<Self>, at: Option<&Place>, file: Option<&Handle>) {
        let Some(changed) = self.changed.get() else { return };
        let by_name = at.and_then(|at| changed.told(&at.dir, &at.name));
        let by_inode = file.map(|file| changed.files().names_of(file)).unwrap_or_default();
        let paths: BTreeSet<PathBuf> = by_name.into_iter().chain(by_inode).collect();
        if !paths.is_empty() {
            take(&self, paths.into_iter().collect());
        }
    }

    /// What was lost may have been of any directory.
    fn overflowed(self: Arc<Self>) {
        take(&self, vec![PathBuf::new()]);
    }
}

/// Takes note of what changed. A directory's files may have been copied up with it.
fn take(watch: &Arc<Watch>, mut paths: Vec<PathBuf>) {
    let Some(changed) = watch.changed.get() else { return };
    let mut looked_at = 0;
    while let Some(relative) = paths.pop() {
        looked_at += 1;
        if looked_at > WAITING {
            break;
        }
        let Some(path) = watch.images(&relative) else {
            paths.extend(changed.listen(&relative));
            continue;
        };
        changed.watch(&relative, &path);
        watch.judge.changed(&path);
        let mut waiting = changed.lock();
        if waiting.paths.len() < WAITING {
            waiting.paths.insert(path);
        }
    }
    start(watch, changed);
}

/// Allows what was changed before anybody listened, each file before this returns.
pub(super) fn catch_up(watch: &Watch) {
    let Some(changed) = watch.changed.get() else { return };
    let mut paths = changed.listen(Path::new(""));
    while let Some(relative) = paths.pop() {
        match watch.images(&relative) {
            Some(path) => {
                changed.watch(&relative, &path);
                watch.judge.changed(&path);
                watch.allow_changed(&path, &AtomicBool::new(false));
            }
            None => paths.extend(changed.listen(&relative)),
        }
    }
}

fn start(watch: &Arc<Watch>, changed: &Changed) {
    let mut waiting = changed.lock();
    if waiting.at_work || waiting.paths.is_empty() {
        return;
    }
    let its = Arc::clone(watch);
    let job = Box::new(move |dropped: &AtomicBool| its.verify_changed(dropped));
    waiting.at_work = watch.verifiers.submit(job).is_ok();
}

impl Watch {
    /// The path of a file of the image.
    fn images(&self, relative: &Path) -> Option<CanonicalPath> {
        let path = [b"/", relative.as_os_str().as_bytes()].concat();
        CanonicalPath::new(path).ok().filter(|path| self.known.by_path(path).is_some())
    }

    /// Verifies all that waits, in the order of their names.
    fn verify_changed(&self, dropped: &AtomicBool) {
        let Some(changed) = self.changed.get() else { return };
        loop {
            let path = {
                let mut waiting = changed.lock();
                let path = waiting.paths.pop_first();
                waiting.at_work = path.is_some() && !dropped.load(Ordering::Relaxed);
                match path.filter(|_| waiting.at_work) {
                    Some(path) => path,
                    None => return,
                }
            };
            self.allow_changed(&path, dropped);
        }
    }

    fn allow_changed(&self, path: &CanonicalPath, dropped: &AtomicBool) -> Option<()> {
        let known = self.known.by_path(path)?;
        let opened = files::open_in(self.root.path(), path.as_bytes()).ok()?;
        let (_, size) = regular(opened.as_fd()).ok()?;
        let real = self.layers.real(opened.as_fd()).ok()?;
        if real.exact && self.verdicts.allows(&real.id) {
            return Some(());
        }
        let file = files::reopen(opened.as_fd()).ok().filter(|_| size == known.size)?;
        let verified = verified::verify(file.into(), Some(path), &self.layers, dropped).ok()?;
        let measurement = Measurement {
            source: Source::ExecTrace,
            event: Event::Open,
            path: Some(path.clone()),
            content: Content::Digest(*verified.digest()),
            process: Process::default(),
            time: SystemTime::now(),
        };
        if self.judge.settled(&measurement) {
            // A full map costs only that the file is told when it is used.
            let _ = self.verdicts.allow(&verified, interpreters::flags(base_name(path.as_bytes())));
        }
        Some(())
    }
}
