//! Files of an image that were changed, and have lost their last name since. Who runs one may
//! execute it again (`/proc/self/exe`), and no name leads from an overlay to what it shows then.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use lacre_sys::attributes::Handle;
use lacre_types::CanonicalPath;

/// As many are remembered: more than run at a time without a name. Each is some 200 bytes, and
/// keeps no space of a disk.
const MOST: usize = 256;

/// Those of the containers of one shim.
#[derive(Debug, Default)]
pub(crate) struct Unlinked(Mutex<VecDeque<Gone>>);

#[derive(Debug)]
struct Gone {
    /// The device of the container's root.
    overlay: u32,
    /// Its name in the image.
    path: CanonicalPath,
    /// Of its upper directory's file system.
    at: OwnedFd,
    handle: Handle,
}

impl Unlinked {
    /// That the file of this name, in the upper directory of the container with that root, has
    /// lost it.
    pub(crate) fn put(
        &self,
        overlay: u32,
        path: &CanonicalPath,
        (at, handle): (&File, &Handle),
    ) -> io::Result<()> {
        let at = at.as_fd().try_clone_to_owned()?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|gone| gone.overlay == overlay && gone.handle == *handle) {
            return Ok(());
        }
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(Gone { overlay, path: path.clone(), at, handle: handle.clone() });
        Ok(())
    }

    /// Those that somebody still has open, by `O_PATH`, with the names that they had.
    pub(crate) fn of(&self, overlay: u32) -> Vec<(CanonicalPath, OwnedFd)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        all.retain(|gone| match gone.handle.open(gone.at.as_fd()) {
            Ok(file) if gone.overlay == overlay => {
                found.push((gone.path.clone(), file));
                true
            }
            opened => opened.is_ok(),
        });
        found
    }
}
