//! What several tests need.

use lacre_types::{CanonicalPath, FileId};

use crate::{Known, KnownFile};

/// A node that knows no file.
pub(crate) struct Nothing;

impl Known for Nothing {
    fn by_path(&self, _: &CanonicalPath) -> Option<KnownFile> {
        None
    }

    fn by_inode(&self, _: u32, _: u64) -> Option<(CanonicalPath, KnownFile)> {
        None
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new(std::iter::empty())
    }
}
