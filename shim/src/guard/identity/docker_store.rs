//! What dockerd has on disk of a container. Its files are read, and not its API asked: while
//! a container starts, dockerd holds the container's lock, and an `inspect` waits for the
//! very Create that asks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lacre_containerd::{ImageConfig, ImageLabels};
use lacre_policy::{Fact, Witness};
use lacre_types::{Digest, chain};
use serde::Deserialize;

/// The greatest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;
/// How many folders above a root dockerd's own is looked for: `DATA/overlay2/ID/merged`,
/// `DATA/rootfs/overlayfs/ID`, and with `userns-remap` `DATA/UID.GID/overlay2/ID/merged`,
/// where that folder has containers of its own.
const ABOVE: usize = 5;

/// A container, as its `config.v2.json` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// The image's name, as it was asked for.
    pub(super) image_name: String,
    /// The container's name.
    pub(super) name: String,
    /// Its labels, those of the image among them.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) image: StoredImage,
}

/// Where its image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoredImage {
    /// In containerd's store: this target, on a snapshot of this snapshotter.
    Containerd { target: Digest, snapshotter: String },
    /// In dockerd's own; or why it is not known.
    Docker(Result<DockerImage, String>),
}

/// An image by dockerd's own store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DockerImage {
    /// The id first, which is the config's digest.
    pub(super) digests: Vec<Fact<Digest>>,
    pub(super) labels: ImageLabels,
}

/// Why dockerd's store does not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("no folder above {} has dockerd's containers/{id}/config.v2.json", .root.display())]
    Nowhere { root: PathBuf, id: String },
    #[error("{} is not dockerd's alone: another than root, or than who runs this, may write it", .0.display())]
    Others(PathBuf),
    #[error("reading {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is not dockerd's", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigV2 {
    image: Digest,
    #[serde(default)]
    image_manifest: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    name: String,
    driver: String,
    config: RunConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfig {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

impl Stored {
    /// Reads it; `root` is the container's root file system.
    pub(super) fn read(root: &Path, id: &str) -> Result<Self, StoreError> {
        let (data, path) = find(root, id)
            .ok_or_else(|| StoreError::Nowhere { root: root.to_owned(), id: id.to_owned() })?;
        // A client chooses the root, and with it the folders above it.
        for part in path.ancestors().take_while(|part| part.starts_with(&data)) {
            if !is_own(part) {
                return Err(StoreError::Others(part.to_owned()));
            }
        }
        let config = read(&path).map_err(|error| StoreError::Read(path.clone(), error))?;
        let config: ConfigV2 =
            serde_json::from_slice(&config).map_err(|error| StoreError::Json(path, error))?;
        let ConfigV2 { image, image_manifest, name, driver, config } = config;
        let store = data.join("image").join(&driver);
        let image = if image_manifest.is_some() || !store.is_dir() {
            StoredImage::Containerd { target: image, snapshotter: driver }
        } else {
            StoredImage::Docker(of_store(&store, root, id, image))
        };
        Ok(Self {
            image_name: config.image,
            name: name.trim_start_matches('/').to_owned(),
            labels: config.labels.unwrap_or_default(),
            image,
        })
    }
}

/// Whether nobody but root, or who runs this, can have written it.
fn is_own(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    path.metadata().is_ok_and(|found| [0, own].contains(&found.uid()) && found.mode() & 0o022 == 0)
}

/// dockerd's folder above the root, and the container's file in it.
fn find(root: &Path, id: &str) -> Option<(PathBuf, PathBuf)> {
    let folders = root.ancestors().skip(1).take(ABOVE);
    let mut files = folders.map(|data| (data, data.join("containers").join(id)));
    files.find_map(|(data, folder)| {
        let path = folder.join("config.v2.json");
        path.is_file().then(|| (data.to_owned(), path))
    })
}

/// The image in dockerd's own store: its config by its digest, its layers by what the
/// container's root stands on.
fn of_store(store: &Path, root: &Path, id: &str, image: Digest) -> Result<DockerImage, String> {
    let at = |path: &Path, error| chain(&StoreError::Read(path.to_owned(), error));
    let text = |path: &Path| {
        let bytes = read(path).map_err(|error| at(path, error))?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let path = store.join("imagedb/content").join(image.algorithm().as_str()).join(image.hex());
    let bytes = read(&path).map_err(|error| at(&path, error))?;
    let config = ImageConfig::verified(&image, &bytes)
        .ok_or_else(|| format!("{} is not what its digest says", path.display()))?;
    let mount = store.join("layerdb/mounts").join(id);
    let mount_id = text(&mount.join("mount-id"))?;
    if !root.components().any(|part| part.as_os_str() == mount_id.as_str()) {
        return Err(format!("dockerd mounts {mount_id}, and the root is {}", root.display()));
    }
    // An image of no layers has no parent.
    let parent = mount.join("parent");
    let stands_on = if parent.exists() { Some(text(&parent)?) } else { None };
    if stands_on != config.chain.map(|chain| chain.to_string()) {
        return Err(format!("the container's layers are not those of image {image}"));
    }
    let mut digests = vec![Fact::new(image, Witness::Content)];
    digests.extend(pulled(&store.join("repositories.json"), &image));
    Ok(DockerImage { digests, labels: config.labels })
}

/// The digests by which dockerd pulled the image: of manifest or index. It has their bytes no
/// more, so its word is all there is.
fn pulled(path: &Path, image: &Digest) -> Vec<Fact<Digest>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Repositories {
        repositories: BTreeMap<String, BTreeMap<String, String>>,
    }
    let bytes = read(path).unwrap_or_default();
    let Ok(Repositories { repositories }) = serde_json::from_slice(&bytes) else {
        return Vec::new();
    };
    let image = image.to_string();
    let references = repositories.values().flatten().filter(|(_, id)| **id == image);
    let digests = references.filter_map(|(name, _)| name.split_once('@')?.1.parse().ok());
    let mut facts: Vec<_> = digests.map(|digest| Fact::new(digest, Witness::Daemon)).collect();
    facts.dedup();
    facts
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
