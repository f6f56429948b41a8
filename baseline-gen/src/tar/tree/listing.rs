//! All that a tree holds, for who compares it with what containerd unpacked.

use std::fmt;

use lacre_types::escape;

use super::{Tree, What};
use crate::hash::Row;

/// One path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Absolute; the root is empty.
    pub path: Vec<u8>,
    /// What it is.
    pub what: Listing,
    /// Mode and owner; `None` where the layers beneath decide.
    pub attributes: Option<(u32, u32, u32)>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// Its size, and the digests taken.
    File(u64, Row),
    /// Whether it is opaque.
    Directory(bool),
    /// Its target.
    Symlink(Vec<u8>),
    /// It hides the name beneath.
    Whiteout,
    /// A device or a FIFO.
    Special,
}

/// One line: the path, what it is, and its mode and owner.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} ", escape(self.path.strip_prefix(b"/").unwrap_or_default()))?;
        match &self.what {
            Listing::File(size, digests) => {
                write!(f, "file {size} ")?;
                digests.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
            Listing::Directory(true) => f.write_str("opaque directory")?,
            Listing::Directory(false) => f.write_str("directory")?,
            Listing::Symlink(target) => write!(f, "link to {}", escape(target))?,
            Listing::Whiteout => f.write_str("whiteout")?,
            Listing::Special => f.write_str("special")?,
        }
        match self.attributes {
            Some((mode, uid, gid)) => write!(f, " {mode:o} {uid}:{gid}"),
            None => f.write_str(" any"),
        }
    }
}

impl Tree {
    pub(crate) fn list(&self) -> Vec<Listed> {
        let mut list = Vec::with_capacity(self.len());
        for (path, inode) in self.inodes() {
            let what = match &inode.what {
                What::File(kept) => {
                    Listing::File(kept.size, kept.digests.clone().unwrap_or_default())
                }
                What::Directory => Listing::Directory(inode.opaque.get()),
                What::Symlink(target) => Listing::Symlink(target.to_vec()),
                What::Whiteout => Listing::Whiteout,
                What::Special => Listing::Special,
            };
            let (uid, gid) = inode.owner.get();
            let own = !inode.implied.get() && !path.is_empty();
            // Nobody looks at a symbolic link's mode.
            let mode = if matches!(what, Listing::Symlink(_)) { 0o777 } else { inode.mode.get() };
            let attributes = own.then_some((mode, uid, gid));
            list.push(Listed { path: path.to_vec(), what, attributes });
        }
        list
    }
}
