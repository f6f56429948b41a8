//! Layers unpacked one over the other, as for the snapshotters that have one directory or one file
//! system for all of them: what each finds there it removes, links to or leads through.

use crate::error::{BlobError, Error};
use crate::merge::Merged;
use crate::tar::{Tree, Wanted};

/// What there is to see in the end of layers from the bottom up, each of which `unpack` unpacks
/// over a tree.
pub(crate) fn replay<L>(
    layers: &[L],
    unpack: impl Fn(&L, (Tree, usize), &Wanted) -> Result<Tree, Error>,
) -> Result<Merged, Error> {
    let mut wanted = Wanted::default();
    // The second time hashes what the first found to be code by a later name or mode.
    for _ in 0..2 {
        let mut tree = Tree::default();
        for (at, layer) in layers.iter().enumerate() {
            tree = unpack(layer, (tree, at), &wanted)?;
        }
        match tree.into_merged() {
            Ok(merged) => return Ok(merged),
            Err(more) => wanted = Wanted::Also(more),
        }
    }
    let why = "it changed between two readings".to_owned();
    Err(Error::blob("the image", BlobError::Unusable(why)))
}
