//! An image as content-addressed blobs: an OCI layout, a docker-archive, containerd's
//! content store.

mod blobs;
mod choice;
mod document;
mod fuzz;
mod packing;
mod platform;
mod replay;
mod unpack;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lacre_types::Digest;

use crate::baseline::Baseline;
use crate::error::{BlobError, Error};
use crate::layer::Layer;
use crate::merge::merge;
use crate::store::Store;
use crate::tar::{Whiteouts, check_implied};
use crate::{Options, Progress, Stacking};

use blobs::{Blobs, Name};
use choice::{choose, choose_saved};
use document::{Config, Descriptor, Document, Saved};
pub use fuzz::fuzz_documents;
pub(crate) use packing::Packing;
pub use platform::Platform;
pub(crate) use replay::replay;
pub(crate) use unpack::LayerBlob;

/// Indices within indices (OCI image-spec allows it; nobody needs more than two).
const DEPTH: u32 = 4;

/// Which image of an archive or a layout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// Its name there; needed when there are several.
    pub name: Option<String>,
    /// Its platform.
    pub platform: Platform,
}

/// An image whose layers are known, and not yet read.
pub(crate) struct Content {
    blobs: Blobs,
    /// From the bottom up.
    layers: Vec<Part>,
}

struct Part {
    name: Name,
    /// What its descriptor says, where there is one.
    blob: Option<(Digest, u64)>,
    packing: Packing,
    diff_id: Digest,
}

impl Content {
    pub(crate) fn open(path: &Path, image: &Reference) -> Result<Self, Error> {
        let blobs = Blobs::open(path)?;
        let problem = |problem: String| Error::Image { path: path.to_owned(), problem };
        if let Some(bytes) = blobs.file("index.json")? {
            let index: Document = document::parse("index.json", &bytes)?;
            let manifests = index.manifests.unwrap_or_default();
            let chosen = choose(&manifests, image.name.as_deref(), &image.platform);
            return Self::resolve(blobs, chosen.map_err(problem)?, &image.platform);
        }
        if let Some(bytes) = blobs.file("manifest.json")? {
            let saved: Vec<Saved> = document::parse("manifest.json", &bytes)?;
            let saved = choose_saved(saved, image.name.as_deref()).map_err(problem)?;
            return Self::saved(blobs, saved);
        }
        Err(problem(
            "has neither an index.json (OCI layout) nor a manifest.json (docker save)".to_owned(),
        ))
    }

    pub(crate) fn store(
        root: &Path,
        manifest: &Digest,
        platform: &Platform,
    ) -> Result<Self, Error> {
        let descriptor = Descriptor::of(*manifest);
        Self::resolve(Blobs::directory(root), &descriptor, platform)
    }

    fn resolve(blobs: Blobs, from: &Descriptor, platform: &Platform) -> Result<Self, Error> {
        let mut descriptor = from.clone();
        for _ in 0..DEPTH {
            let name = descriptor.digest.to_string();
            let document: Document = document::parse(&name, &blobs.verified(&descriptor)?)?;
            let unusable = |why: String| Error::blob(&name, BlobError::Unusable(why));
            match (document.manifests, document.config, document.layers) {
                (Some(manifests), None, None) => {
                    let chosen = choose(&manifests, None, platform);
                    descriptor = chosen.map_err(|why| unusable(format!("it {why}")))?.clone();
                }
                (None, Some(config), Some(layers)) => {
                    return Self::manifest(blobs, &config, layers);
                }
                // An index that is a manifest too would be read differently by others
                // (CVE-2021-41190).
                _ => return Err(unusable(
                    "it is neither an image manifest nor an index of manifests (schema 1 is not \
                     supported)"
                        .to_owned(),
                )),
            }
        }
        let why = format!("it nests indices more than {DEPTH} deep");
        Err(Error::blob(from.digest.to_string(), BlobError::Unusable(why)))
    }

    fn manifest(blobs: Blobs, config: &Descriptor, layers: Vec<Descriptor>) -> Result<Self, Error> {
        let what = config.digest.to_string();
        let parsed: Config = document::parse(&what, &blobs.verified(config)?)?;
        let diff_ids = parsed.diff_ids(&what, layers.len())?;
        let layers = layers.into_iter().zip(diff_ids).map(|(layer, diff_id)| {
            if layer.media_type.ends_with("+encrypted") {
                let why = "it is encrypted; decrypt the image first".to_owned();
                return Err(Error::blob(layer.digest.to_string(), BlobError::Unusable(why)));
            }
            let size = layer.known_size().ok_or_else(|| {
                let why = "its descriptor tells no size".to_owned();
                Error::blob(layer.digest.to_string(), BlobError::Unusable(why))
            })?;
            let packing = Packing::of(&layer.media_type)
                .map_err(|why| Error::blob(layer.digest.to_string(), BlobError::Unusable(why)))?;
            let blob = Some((layer.digest, size));
            Ok(Part { name: Name::Blob(layer.digest), blob, packing, diff_id })
        });
        Ok(Self { layers: layers.collect::<Result<_, _>>()?, blobs })
    }

    fn saved(blobs: Blobs, saved: Saved) -> Result<Self, Error> {
        let bytes = blobs.file(&saved.config)?.ok_or_else(|| blobs.missing(&saved.config))?;
        let parsed: Config = document::parse(&saved.config, &bytes)?;
        document::check_config_name(&saved.config, &bytes)?;
        let diff_ids = parsed.diff_ids(&saved.config, saved.layers.len())?;
        let layers = saved.layers.into_iter().zip(diff_ids);
        let part = |(layer, diff_id)| {
            let packing = Packing::ByFirstBytes;
            Part { name: Name::File(layer), blob: None, packing, diff_id }
        };
        Ok(Self { layers: layers.map(part).collect(), blobs })
    }

    /// As the snapshotter lays the layers one upon the other.
    pub(crate) fn baseline(
        &self,
        cache: Option<&Store>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Baseline, Error> {
        match options.stacking {
            Stacking::Overlaid => self.merged(cache, options, progress),
            Stacking::Unpacked => self.replayed(options, progress),
        }
    }

    /// One after the other: what a layer makes hangs on all before it, and none of it is cached by
    /// itself.
    fn replayed(&self, options: &Options, progress: &dyn Progress) -> Result<Baseline, Error> {
        let merged = replay(&self.layers, |part, over, wanted| {
            progress.stage(&part.name.to_string());
            self.with_blob(part, Whiteouts::Remove, |blob: &LayerBlob<'_>| {
                blob.unpack_over(over, wanted, options, progress)
            })
        })?;
        Baseline::from_merged(options.algorithms, &merged, &self.diff_ids())
    }

    /// Reads the layers, several at once.
    fn merged(
        &self,
        cache: Option<&Store>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Baseline, Error> {
        let next = AtomicUsize::new(0);
        let layers: Vec<Mutex<Option<Result<Layer, Error>>>> =
            self.layers.iter().map(|_| Mutex::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..options.threads().min(self.layers.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let (Some(part), Some(slot)) = (self.layers.get(index), layers.get(index))
                        else {
                            return;
                        };
                        let layer = self.layer(index, part, cache, options, progress);
                        if layer.is_err() {
                            next.store(self.layers.len(), Ordering::Relaxed);
                        }
                        if let Ok(mut slot) = slot.lock() {
                            *slot = Some(layer);
                        }
                    }
                });
            }
        });
        let mut done = Vec::with_capacity(layers.len());
        let mut stopped = false;
        for slot in layers {
            match slot.into_inner().ok().flatten() {
                Some(layer) => done.push(layer?),
                None => stopped = true,
            }
        }
        if stopped {
            // A later layer's failure left it out, and was returned above.
            let why = "a layer was not read".to_owned();
            return Err(Error::blob("the image", BlobError::Unusable(why)));
        }
        check_implied(&done).map_err(|(index, why)| {
            let what = self.layers.get(index).map(|part| part.name.to_string());
            Error::blob(what.unwrap_or_default(), BlobError::Unusable(why))
        })?;
        Baseline::from_merged(options.algorithms, &merge(done), &self.diff_ids())
    }

    fn diff_ids(&self) -> Vec<Option<Digest>> {
        self.layers.iter().map(|part| Some(part.diff_id)).collect()
    }

    fn with_blob<T>(
        &self,
        part: &Part,
        whiteouts: Whiteouts,
        read: impl FnOnce(&LayerBlob<'_>) -> T,
    ) -> T {
        read(&LayerBlob {
            what: &part.name.to_string(),
            open: &|| self.blobs.open_blob(&part.name),
            blob: part.blob.as_ref(),
            diff_id: &part.diff_id,
            packing: part.packing,
            whiteouts,
        })
    }

    fn layer(
        &self,
        index: usize,
        part: &Part,
        cache: Option<&Store>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Layer, Error> {
        let whiteouts = Whiteouts::at(index);
        let scan = || {
            progress.stage(&part.name.to_string());
            self.with_blob(part, whiteouts, |blob| blob.scan(options, progress))
        };
        match cache {
            Some(store) => {
                let reading = (part.packing, whiteouts);
                store.blob_layer(&part.diff_id, reading, options.algorithms, progress, scan)
            }
            None => scan(),
        }
    }
}
