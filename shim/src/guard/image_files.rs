//! What this node knows of the files of a container's image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_baseline::{
    Baseline, Error, Image, Lookup, NoProgress, NodeIndex, Options, Platform, Stacking, Store,
};
use lacre_measure::{Known, KnownFile, Listing};
use lacre_types::{CanonicalPath, Digest, FileId};

/// How the layers of an image's content become the root of a container.
pub(super) fn of_content(is_overlay: bool) -> Options {
    let stacking = if is_overlay { Stacking::Overlaid } else { Stacking::Unpacked };
    Options { stacking, ..Options::default() }
}

/// What this node knows of an image's files.
#[derive(Debug, Clone)]
pub(crate) struct ImageFiles {
    pub(crate) baseline: Arc<Baseline>,
    pub(crate) index: Arc<NodeIndex>,
}

impl ImageFiles {
    /// Of a container that was guarded by the baseline of this manifest, or by that of these
    /// directories, from what is kept in `baselines` or else made there; `None` where there is
    /// nothing that it could be made of.
    pub(crate) fn left(
        manifest: Option<&Digest>,
        lower: &[PathBuf],
        baselines: &Path,
    ) -> Result<Option<Self>, Error> {
        let store = Store::open(baselines)?;
        let is_overlay = !lower.is_empty();
        let options = of_content(is_overlay);
        let kept = |manifest| store.kept_content(manifest, &Platform::default(), &options);
        let allowed = manifest.and_then(kept);
        Ok(match (allowed, manifest) {
            (allowed, _) if is_overlay && (allowed.is_some() || manifest.is_none()) => {
                let options = Options::default();
                Some(store.image(lower, allowed, &options, &NoProgress)?.into())
            }
            (Some(allowed), _) => Some(Image::of_baseline(allowed)?.into()),
            // Of directories that were not what it was judged by nobody knows whether they are.
            (None, _) => None,
        })
    }
}

impl From<Image> for ImageFiles {
    fn from(Image { baseline, index }: Image) -> Self {
        Self { baseline, index }
    }
}

impl Known for ImageFiles {
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.index.by_path(path)
    }

    fn listed(&self, path: &CanonicalPath) -> Listing {
        match self.baseline.entry(path) {
            Lookup::Found(entry) => Listing::Yes(Some(entry.size)),
            Lookup::Missing => Listing::No,
        }
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        self.index.by_inode(dev, ino)
    }

    fn count(&self) -> usize {
        self.baseline.len()
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        self.index.allowed()
    }

    fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
        self.index.named(wanted)
    }
}
