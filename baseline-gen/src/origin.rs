//! Where a baseline comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_types::Digest;

use crate::baseline::Baseline;
use crate::error::Error;
use crate::last_use::note_use;
use crate::merge::merge;
use crate::oci::{Content, Platform, Reference};
use crate::store::{Key, Store};
use crate::walk::{open_root, scan_dir};
use crate::{Options, Progress};

/// From a snapshot's lower directories, topmost first. [`Store::image`] does the same with
/// a cache.
///
/// # Errors
/// When one of them can't be read whole.
pub fn from_lower(
    dirs: &[PathBuf],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Baseline, Error> {
    let mut layers = Vec::with_capacity(dirs.len());
    for dir in dirs.iter().rev() {
        progress.stage(&crate::error::shown(dir));
        layers.push(scan_dir(dir, &open_root(dir)?, options, progress)?);
    }
    let unknown = vec![None; layers.len()];
    Baseline::from_merged(options.algorithms, &merge(layers), &unknown)
}

/// From a root file system, as it stands. What is mounted in it is left out.
///
/// # Errors
/// When it can't be read whole.
pub fn from_rootfs(
    dir: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Baseline, Error> {
    progress.stage(&crate::error::shown(dir));
    let merged = merge([scan_dir(dir, &open_root(dir)?, options, progress)?]);
    Baseline::from_merged(options.algorithms, &merged, &[])
}

/// From an OCI layout (a directory, or a tar of one) or a docker-archive. Every blob is
/// checked against its digest, every layer against its diff ID.
///
/// # Errors
/// When it does not say which image is meant, or a part is missing, broken, or not what
/// its digest says.
pub fn from_oci(
    path: &Path,
    image: &Reference,
    cache: Option<&Store>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Baseline, Error> {
    Content::open(path, image)?.baseline(cache, options, progress)
}

/// From containerd's content store (`<root>/blobs/sha256/…`), by the digest of a manifest
/// or of an index.
///
/// # Errors
/// As [`from_oci`].
pub fn from_content_store(
    root: &Path,
    manifest: &Digest,
    platform: &Platform,
    cache: Option<&Store>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Baseline, Error> {
    Content::store(root, manifest, platform)?.baseline(cache, options, progress)
}

impl Store {
    /// The baseline of an image in containerd's content store, cached by the digest of its
    /// manifest (or of its index, for that platform).
    ///
    /// # Errors
    /// When a blob is missing, broken, or not what its digest says.
    pub fn content(
        &self,
        root: &Path,
        manifest: &Digest,
        platform: &Platform,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Arc<Baseline>, Error> {
        if let Some(baseline) = self.kept_content(manifest, platform, options) {
            return Ok(baseline);
        }
        let content = Content::store(root, manifest, platform)?;
        let path = self.content_file(manifest, platform, options);
        content.baseline(Some(self), options, progress)?.write(&path)?;
        self.prune();
        Baseline::open(&path).map(Arc::new)
    }

    /// The same, where it was made before.
    #[must_use]
    pub fn kept_content(
        &self,
        manifest: &Digest,
        platform: &Platform,
        options: &Options,
    ) -> Option<Arc<Baseline>> {
        let path = self.content_file(manifest, platform, options);
        let baseline = Baseline::open(&path).ok()?;
        note_use(&path);
        Some(Arc::new(baseline))
    }

    fn content_file(&self, manifest: &Digest, platform: &Platform, options: &Options) -> PathBuf {
        let Options { algorithms, stacking, .. } = options;
        let bits = algorithms.bits();
        let key = Key::of(&format!("content 5 {bits} {manifest} {platform} {stacking:?}"));
        self.image_file(key, "baseline")
    }
}
