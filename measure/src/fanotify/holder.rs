//! Holding the next use of a file that is not known any more.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use lacre_sys::fanotify::{Group, Mask};
use lacre_types::CanonicalPath;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};

/// Has the next use of a file asked about, whatever was settled and whatever is asked about
/// otherwise; from any thread.
#[derive(Clone)]
pub struct Holder {
    pub(super) group: Arc<Group>,
    /// The container's root directory.
    pub(super) root: Arc<OwnedFd>,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").finish_non_exhaustive()
    }
}

impl Holder {
    /// Of the file of that name now. Where it can't be had, its use is not held, and
    /// `exec-trace` meets a file that it does not know.
    pub fn hold(&self, path: &CanonicalPath) {
        let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
        let at = self.open(path, OFlags::PATH).or_else(|_| {
            // Word of a rename comes from the layer, before the overlay has the new name. Who
            // reads the directory waits for whoever changes it.
            let parent = path.parent().unwrap_or(path);
            let parent = self.open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let _ = Dir::read_from(parent)?.next();
            self.open(path, OFlags::PATH)
        });
        if let Ok(at) = at {
            let _ = self.group.hold(Mask::EXEC.and(Mask::OPEN), at.as_fd());
        }
    }

    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        // No other mount: its server might never answer.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&*self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }
}
