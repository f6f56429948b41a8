//! What is known of a container's image, which may come to be known only while it runs.

use std::sync::OnceLock;

use lacre_baseline::Baseline;
use lacre_measure::{Known, KnownFile, Listing};
use lacre_types::{CanonicalPath, Digest, FileId};

use super::image_files::ImageFiles;

/// An image's files, once there is a baseline. Until then it knows none.
#[derive(Debug, Default)]
pub(crate) struct LateImage {
    files: OnceLock<ImageFiles>,
    manifest: OnceLock<Digest>,
}

impl LateImage {
    /// From now on it is known, by the content that the manifest names or by directories. There
    /// is one baseline for a container.
    pub(super) fn came(&self, image: ImageFiles, manifest: Option<Digest>) {
        if let Some(manifest) = manifest {
            let _ = self.manifest.set(manifest);
        }
        let _ = self.files.set(image);
    }

    /// What may run, where that is known.
    pub(super) fn baseline(&self) -> Option<&Baseline> {
        self.files.get().map(|image| &*image.baseline)
    }

    /// The manifest whose content the baseline was made from; none where directories were.
    pub(super) fn made_from(&self) -> Option<Digest> {
        self.manifest.get().copied()
    }

    /// The manifest whose content tells what may run; none where directories do. As long as nobody
    /// knows, it is the one that the container is of.
    pub(super) fn judges_by(&self, its: Option<Digest>) -> Option<Digest> {
        if self.is_there() { self.manifest.get().copied() } else { its }
    }
}

impl Known for LateImage {
    fn is_there(&self) -> bool {
        self.files.get().is_some()
    }

    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.files.get()?.by_path(path)
    }

    fn listed(&self, path: &CanonicalPath) -> Listing {
        self.files.get().map_or(Listing::No, |image| image.listed(path))
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        self.files.get()?.by_inode(dev, ino)
    }

    fn count(&self) -> usize {
        self.files.get().map_or(0, ImageFiles::count)
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        match self.files.get() {
            Some(image) => image.allowed(),
            None => Box::new(std::iter::empty()),
        }
    }

    fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
        self.files.get().map(|image| image.named(wanted)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_baseline::{Image, NoProgress, Options, from_lower};
    use std::sync::Arc;

    #[test]
    fn what_was_made_from_directories_is_by_no_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let image = || {
            let lower = [dir.path().to_owned()];
            let baseline = from_lower(&lower, &Options::default(), &NoProgress).unwrap();
            ImageFiles::from(Image::of_baseline(Arc::new(baseline)).unwrap())
        };
        let [its, made] = [[1; 32], [2; 32]].map(Digest::sha256);
        let late = LateImage::default();
        assert_eq!(late.judges_by(Some(its)), Some(its), "nobody knows yet");
        late.came(image(), None);
        assert_eq!(late.judges_by(Some(its)), None);
        let late = LateImage::default();
        late.came(image(), Some(made));
        assert_eq!(late.judges_by(Some(its)), Some(made));
        assert_eq!(late.judges_by(None), Some(made));
    }
}
