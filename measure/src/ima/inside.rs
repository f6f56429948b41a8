//! Whether a file that a line tells of is one that the container has.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use lacre_types::{CanonicalPath, Digest};

use crate::files::{Digests, Layers, open_in};
use crate::process::Held;
use crate::{Known, Target};

/// The container's files, as long as there is a way to them.
pub(super) struct Inside {
    init: Held,
    /// Its root as the host reaches it, then its upper directory, which outlives the root.
    roots: Vec<PathBuf>,
    layers: Layers,
    known: Arc<dyn Known>,
    digests: Digests,
}

impl Inside {
    pub(super) fn of(target: &Target, init: Held) -> Self {
        Self {
            init,
            roots: [Some(target.rootfs.clone()), target.upper.clone()]
                .into_iter()
                .flatten()
                .collect(),
            layers: Layers::new(target.upper.as_deref(), &target.lower),
            known: Arc::clone(&target.known),
            digests: Digests::default(),
        }
    }

    /// Whether the container has a file of that path with that content now. Content that
    /// can't be read is not it.
    pub(super) fn has(&mut self, path: &CanonicalPath, digest: &Digest) -> bool {
        // With its mounts, while it lives; its number can't have come to mean another then.
        let own = self.init.proc("root");
        let found = self.digest(&own, path);
        if self.init.lives() {
            return found.as_ref() == Some(digest);
        }
        let roots = self.roots.clone();
        roots.iter().any(|root| self.digest(root, path).as_ref() == Some(digest))
    }

    fn digest(&mut self, root: &std::path::Path, path: &CanonicalPath) -> Option<Digest> {
        let opened = open_in(root, path.as_bytes()).ok()?;
        let mut real = self.layers.real(opened.as_fd()).ok()?;
        let known = self.known.by_inode(real.id.dev, real.id.ino).map(|(_, file)| file);
        match known.filter(|file| real.exact && file.id == real.id) {
            Some(file) => Some(file.digest),
            None => self.digests.of(&mut real).ok(),
        }
    }
}
