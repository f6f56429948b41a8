//! What this node knows of the files of a container's image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_baseline::{Baseline, Lookup, NoProgress, NodeIndex, Options, open_or_build};
use lacre_measure::{Known, KnownFile, Listing};
use lacre_types::{CanonicalPath, FileId, chain};
use slog::{Logger, warn};

/// What this node knows of an image's files.
#[derive(Debug, Clone)]
pub(crate) struct ImageFiles {
    pub(crate) baseline: Arc<Baseline>,
    pub(crate) index: Arc<NodeIndex>,
}

impl ImageFiles {
    /// Of an image that has these layers, from what is kept in `baselines` or else made there;
    /// where that can't be, the log says why.
    pub(crate) fn load(
        lower: Option<Vec<PathBuf>>,
        baselines: &Path,
        log: &Logger,
    ) -> Option<Self> {
        let lower = lower?;
        match open_or_build(&lower, baselines, &Options::default(), &NoProgress) {
            Ok((baseline, index)) => Some(Self { baseline, index }),
            Err(error) => {
                warn!(log, "no baseline"; "error" => chain(&error));
                None
            }
        }
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

/// Nothing is known of a container that has no baseline.
#[derive(Debug)]
pub(crate) struct NoFiles;

impl Known for NoFiles {
    fn by_path(&self, _: &CanonicalPath) -> Option<KnownFile> {
        None
    }

    fn listed(&self, _: &CanonicalPath) -> Listing {
        Listing::No
    }

    fn by_inode(&self, _: u32, _: u64) -> Option<(CanonicalPath, KnownFile)> {
        None
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new(std::iter::empty())
    }
}
