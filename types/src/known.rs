//! What is asked about a file before any of it is read.

use crate::{CanonicalPath, Digest, FileId};

/// A file of the image, whose content was hashed while it had this identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// The state it was hashed in.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
}

/// What the baseline has under a path, before a byte is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Nothing: no content can make it allowed.
    No,
    /// A file, of so many bytes where the baseline tells.
    Yes(Option<u64>),
}

/// What was hashed on this node before, so that nothing is hashed twice. It says what a
/// file's bytes are, never whether they are allowed.
pub trait Known: Send + Sync {
    /// Whether anything is known yet: of an image whose baseline is still being made nothing is,
    /// and all that is asked here is answered as of an empty one until then.
    fn is_there(&self) -> bool {
        true
    }

    /// The image's file of that path, on the snapshot's lower directories.
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile>;

    /// Whether reading the file of that path can lead to anything but a violation. What
    /// isn't overridden here has every unknown file read.
    fn listed(&self, path: &CanonicalPath) -> Listing {
        Listing::Yes(self.by_path(path).map(|file| file.size))
    }

    /// The path and digest of the file with that real inode.
    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)>;

    /// Every ELF file that the *baseline allows* in its present state. What may be filled
    /// into a kernel map before the container starts.
    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_>;

    /// How many files the image lists, about: what a map that may have to name them is sized by.
    fn count(&self) -> usize {
        0
    }

    /// The files of [`Known::allowed`] under each of their names that is wanted, hard and
    /// symbolic links too; `wanted` is asked about the last part of a path. What isn't
    /// overridden here tells one name of each file.
    fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
        self.allowed()
            .filter_map(|id| {
                let (path, _) = self.by_inode(id.dev, id.ino)?;
                let name = base_name(path.as_bytes());
                wanted(name).then(|| (name.to_vec(), id))
            })
            .collect()
    }
}

/// The last part of a path.
#[must_use]
pub fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}
