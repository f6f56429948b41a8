use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use lacre_types::{CanonicalPath, FileId, base_name};

use super::interpreters;
use super::verdicts::Verdicts;
use crate::Leased;
use crate::files::Layers;
use crate::unverified::Unverified;
use crate::verified::{self, Verified};

/// Allows files from any thread; cheap to clone.
#[derive(Debug, Clone)]
pub struct Allower {
    pub(super) verdicts: Verdicts,
    pub(super) layers: Layers,
}

impl Allower {
    /// From now on the file may run in this state. `path` tells whether it is an
    /// interpreter, whose arguments are then looked at.
    ///
    /// # Errors
    /// When the map is full, or gone; when the file's state says nothing once its lease is
    /// over ([`Verified::lasting`]).
    pub fn allow(&self, file: &Verified, path: Option<&CanonicalPath>) -> io::Result<()> {
        let name = path.map_or(&b""[..], |path| base_name(path.as_bytes()));
        self.verdicts.allow(file, interpreters::flags(name))
    }

    /// From now on a file of the container's root may run in whatever state, by its inode there,
    /// for as long as this process holds a read lease on it: before the lease ends, and before a
    /// writer is let in, [`Self::lease_ends`] is to be called. A full map costs only that it is
    /// told of as any that is not known.
    pub fn leased(&self, file: &Leased<'_>) {
        let name = file.path.map_or(&b""[..], |path| base_name(path.as_bytes()));
        if let Some(overlay) = self.overlay() {
            let verdict = (file.digest, interpreters::flags(name));
            let _ = self.verdicts.leased((overlay, file.ino), verdict);
        }
    }

    /// From now on its state counts again.
    pub fn lease_ends(&self, ino: u64) {
        if let Some(overlay) = self.overlay() {
            self.verdicts.lease_ends(overlay, ino);
        }
    }

    fn overlay(&self) -> Option<u32> {
        self.layers.overlay()
    }

    /// From now on it may not.
    ///
    /// # Errors
    /// When it was not allowed.
    pub fn forget(&self, id: &FileId) -> io::Result<()> {
        self.verdicts.forget(id)
    }

    /// Reads a file of the container that is open to read. It may wait for a disk.
    ///
    /// # Errors
    /// Why nobody can vouch for what it holds.
    pub fn verify(&self, file: OwnedFd) -> Result<Verified, Unverified> {
        verified::verify(file, None, &self.layers, &AtomicBool::new(false))
    }
}
