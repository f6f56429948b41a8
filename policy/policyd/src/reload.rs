//! When to read a file again: when its directory says that something changed, on SIGHUP, and
//! once in a while, for file systems that tell nothing.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::sync::mpsc;

/// How often the file is read though nothing was said to have changed.
pub const ANYWAY: Duration = Duration::from_secs(30);

/// An editor and a ConfigMap both change a directory several times for one new file.
pub const SETTLE: Duration = Duration::from_millis(50);

/// Watches the directories through which the file is reached, so that a rename over it
/// and the swap of a symbolic link on the way are both seen. A change is one unit in the
/// channel, or is in there already.
///
/// # Errors
/// When the kernel refuses. Then the file is read every [`ANYWAY`].
pub fn watch(file: &Path, changed: mpsc::Sender<()>) -> std::io::Result<()> {
    let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
    let file = file.to_owned();
    add(&inotify, &file)?;
    std::thread::Builder::new().name("file-watch".to_owned()).stack_size(128 * 1024).spawn(
        move || {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(&*inotify, &mut buffer);
            while reader.next().is_ok() {
                // A link may lead elsewhere now.
                let _ = add(&inotify, &file);
                if matches!(changed.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                    return;
                }
            }
        },
    )?;
    Ok(())
}

fn add(inotify: &impl std::os::fd::AsFd, file: &Path) -> std::io::Result<()> {
    let flags = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::ONLYDIR;
    let mut first = Ok(());
    for (at, dir) in directories(file).iter().enumerate() {
        let added = inotify::add_watch(inotify, dir, flags);
        if let (0, Err(errno)) = (at, added) {
            first = Err(errno.into());
        }
    }
    first
}

/// The directory of the file, and of every symbolic link on the way to it.
fn directories(file: &Path) -> Vec<PathBuf> {
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    let mut at = file.to_owned();
    // Linux follows at most 40 links (path_resolution(7)).
    for _ in 0..40 {
        let dir = match at.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        if seen.insert(dir.clone()) {
            order.push(dir.clone());
        }
        // A directory on the way may be a link too: `..data` of a ConfigMap.
        if let Ok(real) = dir.canonicalize()
            && seen.insert(real.clone())
        {
            order.push(real);
        }
        match std::fs::read_link(&at) {
            Ok(target) => at = dir.join(target),
            Err(_) => break,
        }
    }
    order
}
