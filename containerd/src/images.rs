//! The records of images, and the index, manifest and configuration that one leads to.

use std::collections::BTreeMap;

use lacre_types::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::exact_names::Others;
use crate::{Client, Error, Moment, wire};

const GET: &str = "/containerd.services.images.v1.Images/Get";
const LIST: &str = "/containerd.services.images.v1.Images/List";

/// The greatest index, manifest or config that is read. Registries refuse manifests above
/// 4 MiB (OCI distribution-spec); configs with a long history stay below it.
pub(crate) const DOCUMENT_MAX: usize = 4 << 20;

/// Machines, as indexes call them.
const MACHINES: [&str; 11] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x",
    "wasm",
];
/// What runs nothing of Linux's; `unknown` is what is no program at all, such as an attestation.
const SYSTEMS: [&str; 4] = ["windows", "darwin", "freebsd", "unknown"];

/// How deep an index may lie in an index.
const INDEX_DEPTH: usize = 4;

/// An image's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// The digest of its manifest or index.
    pub target: Digest,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When the name was last given to an image, be it the same.
    pub updated_at: Option<Moment>,
}

/// What an image consists of on this platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageManifest {
    /// The digest of the record's target: this manifest, or an index above it.
    pub target: Digest,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// The digest of its config; what Docker calls the image's id.
    pub config: Digest,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer, compressed and not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the blob.
    pub digest: Digest,
    /// The digest of the tar in it.
    pub diff_id: Digest,
    /// Its media type, which says how it is compressed.
    pub media_type: String,
    /// The blob's size in bytes.
    pub size: u64,
}

/// A platform, in OCI's words (which are Go's).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `v8`.
    #[serde(default)]
    pub variant: String,
    #[serde(flatten)]
    others: Others,
}

impl Platform {
    /// The one this program was built for.
    #[must_use]
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::from(("linux".to_owned(), architecture.to_owned()))
    }

    /// Whether containerd may choose that for this machine. It knows further names of each
    /// (`x86_64`), and some machines run what was built for another (386), so that only what is
    /// certainly another machine's is not.
    pub(crate) fn may_run(&self, other: &Self) -> bool {
        let (own, machine) = (self.architecture.as_str(), other.architecture.as_str());
        let is_own =
            machine == own || matches!((own, machine), ("amd64", "386") | ("arm64", "arm"));
        let is_other = match other.os.as_str() {
            "linux" => !is_own && MACHINES.contains(&machine),
            os => SYSTEMS.contains(&os),
        };
        !is_other
    }

    pub(crate) fn runs(&self, other: &Self) -> bool {
        let variant =
            |name: &str| name.is_empty() || (self.architecture == "arm64" && name == "v8");
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant == other.variant || variant(&self.variant) && variant(&other.variant))
    }
}

impl From<(String, String)> for Platform {
    fn from((os, architecture): (String, String)) -> Self {
        Self { os, architecture, variant: String::new(), others: Others }
    }
}

/// The chain id of layers (OCI image-spec, config), lowest first: what their snapshot is
/// called. `None` for no layers.
#[must_use]
pub fn chain_id(diff_ids: impl IntoIterator<Item = Digest>) -> Option<Digest> {
    diff_ids.into_iter().reduce(|chain, diff| {
        Digest::sha256(Sha256::digest(format!("{chain} {diff}").as_bytes()).into())
    })
}

impl ImageManifest {
    /// The chain id of all its layers.
    #[must_use]
    pub fn chain_id(&self) -> Option<Digest> {
        chain_id(self.layers.iter().map(|layer| layer.diff_id))
    }
}

impl Client {
    /// An image's record.
    ///
    /// # Errors
    /// When there is none, or containerd does not tell.
    pub async fn image(&self, name: &str) -> Result<Image, Error> {
        let answer: wire::OneImage =
            self.unary(GET, name, wire::Named { name: name.into() }).await?;
        answer.image.unwrap_or_default().read(GET)
    }

    /// The images that one of the filters matches; all of the namespace with no filter.
    ///
    /// # Errors
    /// When containerd does not tell, or tells of one without a digest.
    pub async fn images(&self, filters: &[&str]) -> Result<Vec<Image>, Error> {
        let filters = filters.iter().map(|&filter| filter.into()).collect();
        let answer: wire::Images =
            self.unary(LIST, self.namespace(), wire::Filters { filters }).await?;
        answer.images.into_iter().map(|image| image.read(LIST)).collect()
    }

    /// What an image consists of on a platform. Manifest and config are compared with their
    /// digests.
    ///
    /// # Errors
    /// When there is no such image, it has nothing for that platform, or a part is missing
    /// or not what it must be.
    pub async fn image_manifest(
        &self,
        name: &str,
        platform: &Platform,
    ) -> Result<ImageManifest, Error> {
        let target = self.image(name).await?.target;
        let no_good =
            |problem| Error::Answer { call: crate::client::short(GET), on: name.into(), problem };
        let mut manifest = target;
        for _ in 0..INDEX_DEPTH {
            let blob = self.small_blob(&manifest, DOCUMENT_MAX).await?;
            match Document::read(&blob, platform).map_err(no_good)? {
                Document::Index(next) => manifest = next,
                Document::Manifest { config, layers } => {
                    let blob = self.small_blob(&config, DOCUMENT_MAX).await?;
                    let layers = with_diff_ids(layers, &blob).map_err(no_good)?;
                    return Ok(ImageManifest { target, manifest, config, layers });
                }
            }
        }
        Err(no_good(format!("its indexes are nested more than {INDEX_DEPTH} deep")))
    }
}

impl wire::Image {
    fn read(self, call: &'static str) -> Result<Image, Error> {
        match self.target.unwrap_or_default().digest.parse() {
            Ok(target) => Ok(Image {
                name: self.name,
                target,
                labels: self.labels,
                updated_at: self.updated_at.map(Moment::from),
            }),
            Err(error) => Err(Error::Answer {
                call: crate::client::short(call),
                on: self.name,
                problem: format!("its target has no digest: {error}"),
            }),
        }
    }
}

/// An index, already resolved to one of its manifests, or a manifest.
pub(crate) enum Document {
    Index(Digest),
    Manifest { config: Digest, layers: Vec<Descriptor> },
}

#[derive(Deserialize)]
struct Raw {
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    #[serde(flatten)]
    _others: Others,
}

#[derive(Deserialize)]
pub(crate) struct Descriptor {
    digest: Digest,
    #[serde(rename = "mediaType", default)]
    media_type: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
    #[serde(flatten)]
    _others: Others,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
    #[serde(flatten)]
    _others: Others,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
    #[serde(flatten)]
    _others: Others,
}

impl Document {
    pub(crate) fn read(blob: &[u8], platform: &Platform) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(blob)
            .map_err(|error| format!("its index or manifest is not JSON of that form: {error}"))?;
        match raw {
            // Both at once reads as two different images (CVE-2021-41190).
            Raw { manifests: Some(_), layers: Some(_), .. } => {
                Err("a document of it is an index and a manifest at once".into())
            }
            Raw { manifests: Some(manifests), .. } => {
                let runs = |entry: &&Descriptor| {
                    entry.platform.as_ref().is_some_and(|has| platform.runs(has))
                };
                let only = match manifests.as_slice() {
                    [only] if only.platform.is_none() => Some(only),
                    all => all.iter().find(runs),
                };
                only.map(|entry| Self::Index(entry.digest)).ok_or_else(|| {
                    format!("it has nothing for {}/{}", platform.os, platform.architecture)
                })
            }
            Raw { layers: Some(layers), config: Some(config), .. } => {
                Ok(Self::Manifest { config: config.digest, layers })
            }
            _ => Err("a document of it is neither an index nor a manifest".into()),
        }
    }
}

pub(crate) fn with_diff_ids(layers: Vec<Descriptor>, config: &[u8]) -> Result<Vec<Layer>, String> {
    let config: Config = serde_json::from_slice(config)
        .map_err(|error| format!("its config is not JSON of that form: {error}"))?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        return Err(format!(
            "its manifest has {} layers and its config {}",
            layers.len(),
            diff_ids.len()
        ));
    }
    let pairs = layers.into_iter().zip(diff_ids);
    Ok(pairs
        .map(|(layer, diff_id)| Layer {
            digest: layer.digest,
            diff_id,
            media_type: layer.media_type,
            size: layer.size,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> Digest {
        format!("sha256:{}", String::from(digit).repeat(64)).parse().unwrap()
    }

    fn read(text: &str) -> Result<Document, String> {
        let here = Platform::from(("linux".to_owned(), "arm64".to_owned()));
        Document::read(text.as_bytes(), &here)
    }

    #[test]
    fn the_platforms_manifest_is_taken() {
        let index = format!(
            r#"{{"manifests":[
                {{"digest":"{}","platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{}","platform":{{"os":"unknown","architecture":"unknown"}}}},
                {{"digest":"{}","platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#,
            digest('a'),
            digest('b'),
            digest('c'),
        );
        assert!(matches!(read(&index), Ok(Document::Index(found)) if found == digest('c')));
        let other = index.replace("arm64", "riscv64");
        assert!(read(&other).is_err_and(|error| error.contains("nothing for linux/arm64")));
    }

    #[test]
    fn only_what_is_certainly_another_machines_is_not_looked_at() {
        let platform =
            |os: &str, machine: &str| Platform::from((os.to_owned(), machine.to_owned()));
        let here = platform("linux", "amd64");
        for (os, machine) in
            [("linux", "amd64"), ("linux", "386"), ("linux", "x86_64"), ("LINUX", "arm64")]
        {
            assert!(here.may_run(&platform(os, machine)), "{os}/{machine}");
        }
        for (os, machine) in [("linux", "arm64"), ("windows", "amd64"), ("unknown", "unknown")] {
            assert!(!here.may_run(&platform(os, machine)), "{os}/{machine}");
        }
        assert!(platform("linux", "arm64").may_run(&platform("linux", "arm")));
    }

    #[test]
    fn index_and_manifest_at_once_is_refused() {
        assert!(read(r#"{"manifests":[],"layers":[]}"#).is_err_and(|e| e.contains("at once")));
        assert!(read("{}").is_err());
    }

    #[test]
    fn layers_without_diff_ids_are_refused() {
        let layer = Descriptor {
            digest: digest('a'),
            media_type: String::new(),
            size: 1,
            platform: None,
            _others: Others,
        };
        assert!(with_diff_ids(vec![layer], br#"{"rootfs":{"diff_ids":[]}}"#).is_err());
    }

    #[test]
    fn chain_ids_are_those_of_the_image_spec() {
        assert_eq!(chain_id([]), None);
        assert_eq!(chain_id([digest('a')]), Some(digest('a')));
        let text = format!("{} {}", digest('a'), digest('b'));
        let two = Digest::sha256(Sha256::digest(text.as_bytes()).into());
        assert_eq!(chain_id([digest('a'), digest('b')]), Some(two));
    }
}
