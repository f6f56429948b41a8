use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;

use lacre_types::{CanonicalPath, FileId, base_name};

use super::interpreters;
use super::verdicts::Verdicts;
use crate::files::Layers;
use crate::verified::{self, Unverified, Verified};

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
