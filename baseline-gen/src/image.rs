//! What directories of this node hold, and in which inodes.

use std::path::Path;
use std::sync::Arc;

use crate::Options;
use crate::baseline::{Baseline, Bytes, write_atomically};
use crate::error::Error;
use crate::last_use::note_use;
use crate::layer::Layer;
use crate::merge::{Merged, merge};
use crate::node_index::{self, NodeIndex};

/// The baseline of a container's image, and what this node knows of its files.
#[derive(Debug, Clone)]
pub struct Image {
    /// What may run.
    pub baseline: Arc<Baseline>,
    /// Which inodes hold it.
    pub index: Arc<NodeIndex>,
}

/// What directories of this node hold, and in which inodes.
#[derive(Debug)]
pub struct Scanned {
    baseline: Arc<Baseline>,
    index: NodeIndex,
}

impl Scanned {
    /// The baseline in that file, and the index beside it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let baseline = Arc::new(Baseline::open(path)?);
        let beside = path.with_extension("index");
        let index = NodeIndex::open(&beside, Arc::clone(&baseline), Arc::clone(&baseline))?;
        note_use(path);
        note_use(&beside);
        Ok(Self { baseline, index })
    }

    /// With what may run told by another, such as the image's content.
    #[must_use]
    pub fn allowing(self, allowed: Arc<Baseline>) -> Image {
        // Of equal content each file scanned is the one allowed.
        let index = match allowed.digest() == self.baseline.digest() {
            true => self.index,
            false => self.index.allowing(Arc::clone(&allowed)),
        };
        Image { baseline: allowed, index: Arc::new(index) }
    }

    /// What is in the directories may run.
    #[must_use]
    pub fn as_they_are(self) -> Image {
        Image { baseline: self.baseline, index: Arc::new(self.index) }
    }
}

impl Image {
    /// What may run, where no inode of it is known.
    ///
    /// # Errors
    /// Never, of a baseline that can be.
    pub fn of_baseline(baseline: Arc<Baseline>) -> Result<Self, Error> {
        let none = Merged::default();
        let scanned = Baseline::from_merged(baseline.algorithms(), &none, &[])?;
        let format = |source| Error::Format { what: "node index", path: "(memory)".into(), source };
        let bytes = Bytes::Owned(node_index::encode(&scanned, &none).map_err(format)?);
        let index = NodeIndex::parse(bytes, Arc::new(scanned), Arc::clone(&baseline));
        Ok(Self { baseline, index: Arc::new(index.map_err(format)?) })
    }
}

/// From the bottom up.
pub(crate) fn write_and_open(
    path: &Path,
    layers: Vec<Layer>,
    options: &Options,
) -> Result<Scanned, Error> {
    let unknown = vec![None; layers.len()];
    let merged = merge(layers);
    let baseline = Baseline::from_merged(options.algorithms, &merged, &unknown)?;
    write_image(path, &baseline, &merged)?;
    Scanned::open(path)
}

fn write_image(path: &Path, baseline: &Baseline, merged: &Merged) -> Result<(), Error> {
    let beside = path.with_extension("index");
    let format = |source| Error::Format { what: "node index", path: beside.clone(), source };
    let index = node_index::encode(baseline, merged).map_err(format)?;
    baseline.write(path)?;
    write_atomically(&beside, &index)
}
