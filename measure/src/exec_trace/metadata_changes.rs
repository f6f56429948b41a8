//! Files of the image whose attributes or names changed: the same content in another state,
//! often in another inode, which the map does not have and the kernel would kill for. What
//! was changed is verified at once, and allowed before it is used, which fanotify holds
//! meanwhile. Who is faster is killed, and a record tells of it.
//!
//! Of what is changed by its name in the image its directory is told. Once copied up, a file can
//! have other names, in any directory, and be changed by them: links made, removed and renamed,
//! and what is done to them. Of all of that the file itself is told, and so it is watched too.
//! Nobody is told of flags (`FS_IOC_SETFLAGS`, Linux 6.18): who first uses such a file is killed.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use lacre_sys::attributes::{Handle, Place};
use lacre_types::{CanonicalPath, Content, Event, Measurement, Process, Source, base_name};

use super::interpreters;
use super::watch::Watch;
use super::watched_files::{Changed, WAITING, why};
use crate::fanotify::Listener;
use crate::files::{self, regular};
use crate::verified;

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

impl Listener for Watch {
    fn told(self: Arc<Self>, at: Option<&Place>, file: Option<&Handle>) {
        let Some(changed) = self.changed.get() else { return };
        let by_name = at.and_then(|at| changed.told(&at.dir, &at.name));
        let by_inode = file.map(|file| changed.files().names_of(file)).unwrap_or_default();
        if let Some(file) = file {
            by_inode.iter().for_each(|relative| lost_name(&self, changed, relative, file));
        }
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

/// Takes note of a file that has lost its last name: who runs it may execute it again.
fn lost_name(watch: &Arc<Watch>, changed: &Changed, relative: &Path, file: &Handle) {
    let (Some(path), Some(overlay)) = (watch.images(relative), watch.layers.overlay()) else {
        return;
    };
    let Some(opened) = changed.without_name(file) else { return };
    // Where it is not remembered its next use is refused.
    let _ = watch.layers.unlinked().put(overlay, &path, (&changed.at, file));
    let its = Arc::clone(watch);
    let job = Box::new(move |dropped: &AtomicBool| {
        let _ = its.allow_opened(&opened, &path, dropped);
    });
    let _ = watch.verifiers.submit(job);
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
        let opened = files::open_in(self.root.path(), path.as_bytes()).ok()?;
        self.allow_opened(&opened, path, dropped)
    }

    /// `O_PATH` is enough.
    fn allow_opened(
        &self,
        opened: &OwnedFd,
        path: &CanonicalPath,
        dropped: &AtomicBool,
    ) -> Option<()> {
        let known = self.known.by_path(path)?;
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
