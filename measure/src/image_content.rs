//! What the image has and no baseline lists, since nothing of it says that it is code: its data.
//!
//! That is the image's for as long as it holds what it came with. A change of its owner, its mode
//! or its times makes another file of it, in the container's own layer, which holds the same: of
//! that nothing but its content tells. So it is read, kept still as all that is verified, and
//! compared with what the image's layers have under its name. Who writes the image's own bytes
//! there has changed nothing.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacre_types::{CanonicalPath, Digest, FileId};
use rustix::fs::CWD;

use crate::files::{Layers, Real};
use crate::verified::{self, PATIENCE};

/// States of files that are remembered of one container, some 100 bytes each. When they are more
/// all are read again.
const REMEMBERED: usize = 4096;

/// What is known of the image's data in one container.
#[derive(Debug, Default)]
pub(crate) struct ImageContent {
    /// Files of the container's layer that hold what the layer's file holds.
    same: Mutex<HashSet<(FileId, FileId)>>,
    /// What the layers' files hold: nobody changes them.
    layers: Mutex<HashMap<FileId, Digest>>,
}

impl ImageContent {
    /// Whether a file that is open to read holds what the image has under its name: that which the
    /// kernel has for it now, or `path`. It may wait for a disk, and for a writer that ends.
    pub(crate) fn has(
        &self,
        file: BorrowedFd<'_>,
        path: Option<&CanonicalPath>,
        layers: &Layers,
        dropped: &AtomicBool,
    ) -> bool {
        let link =
            rustix::fs::readlinkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new());
        let link = link.ok().and_then(|link| CanonicalPath::new(link.into_bytes()).ok());
        let Ok(stat) = rustix::fs::fstat(file) else { return false };
        let size = stat.st_size.cast_unsigned();
        // Nothing is kept still that can't be it.
        let image = link.iter().chain(path).find_map(|name| {
            let image = layers.image_file(name)?;
            let its = rustix::fs::fstat(&image.file).ok()?;
            (its.st_size.cast_unsigned() == size).then_some((name.clone(), image))
        });
        let Some((name, image)) = image else { return false };
        self.compare(file, &name, &image, layers, dropped).unwrap_or(false)
    }

    fn compare(
        &self,
        file: BorrowedFd<'_>,
        name: &CanonicalPath,
        image: &Real,
        layers: &Layers,
        dropped: &AtomicBool,
    ) -> Option<bool> {
        let file = file.try_clone_to_owned().ok()?;
        let terms = (verified::MOST, PATIENCE);
        let kept = verified::keep_still(terms, file, Some(name), layers, dropped).ok()?;
        let pair = kept.lasting().map(|its| (*its, image.id));
        if pair.is_some_and(|(its, image)| its == image)
            || pair.is_some_and(|pair| lock(&self.same).contains(&pair))
        {
            return Some(true);
        }
        let read = kept.read(dropped).ok()?;
        let same = *read.digest() == self.digest(image, dropped)?;
        if let Some(pair) = pair.filter(|_| same) {
            let mut all = lock(&self.same);
            if all.len() >= REMEMBERED {
                all.clear();
            }
            all.insert(pair);
        }
        // What is remembered is so when this has gone, after which a change has another date.
        drop(read);
        Some(same)
    }

    fn digest(&self, image: &Real, dropped: &AtomicBool) -> Option<Digest> {
        if let Some(digest) = lock(&self.layers).get(&image.id) {
            return Some(*digest);
        }
        let digest = verified::hash(&image.file, verified::MOST, dropped).ok()?;
        let mut all = lock(&self.layers);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(image.id, digest);
        Some(digest)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
