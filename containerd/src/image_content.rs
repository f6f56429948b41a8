use std::collections::{BTreeSet, VecDeque};

use lacre_types::Digest;
use serde::Deserialize;

use crate::images::{DOCUMENT_MAX, chain_id};
use crate::{BlobCache, Client, Error, Platform};

/// How many documents of one image are looked at: an index of every platform that there is,
/// with an attestation for each, has some thirty.
const DOCUMENTS_MAX: usize = 64;

/// Which image of a record it is that a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageContent {
    /// The digests by which it is known: of the record's target first, then of what lies
    /// below it, down to the manifest and the config. Each was computed from the bytes.
    pub digests: Vec<Digest>,
    /// What its author wrote.
    pub labels: ImageLabels,
}

/// What an image's author wrote: labels of the config, annotations of manifest and index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageLabels(BTreeSet<(String, String)>);

impl FromIterator<(String, String)> for ImageLabels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(said: I) -> Self {
        Self(said.into_iter().collect())
    }
}

impl ImageLabels {
    /// Whether the author wrote this.
    #[must_use]
    pub fn has(&self, key: &str, value: &str) -> bool {
        // Compared whole: of a key that both have, the container's value is its maker's.
        self.0.contains(&(key.to_owned(), value.to_owned()))
    }
}

/// The config of an image, as far as it tells who the image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// The chain id of its layers; `None` where it has none.
    pub chain: Option<Digest>,
    /// What its author wrote.
    pub labels: ImageLabels,
}

impl ImageConfig {
    /// Reads its bytes, which are compared with `digest`; `None` when they are not its, or
    /// are no config.
    #[must_use]
    pub fn verified(digest: &Digest, bytes: &[u8]) -> Option<Self> {
        (crate::content::hash(digest, bytes) == Some(*digest)).then(|| Self::read(bytes))?
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        match Document::read(bytes)? {
            Document::Config(config) => Some(config),
            Document::Index { .. } | Document::Manifest { .. } => None,
        }
    }
}

type Pairs = Option<std::collections::BTreeMap<String, String>>;

fn pairs(of: Pairs) -> impl Iterator<Item = (String, String)> {
    of.into_iter().flatten()
}

/// One of an image's documents.
enum Document {
    Index { entries: Vec<Entry>, said: ImageLabels },
    Manifest { config: Digest, said: ImageLabels },
    Config(ImageConfig),
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    platform: Option<Platform>,
    annotations: Pairs,
}

impl Document {
    /// Told by what it has, and not by its media type, which whoever stores it may choose.
    fn read(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw {
            manifests: Option<Vec<Entry>>,
            layers: Option<serde::de::IgnoredAny>,
            config: Option<Config>,
            rootfs: Option<RootFs>,
            annotations: Pairs,
        }
        /// A manifest's is a descriptor, a config's holds the labels.
        #[derive(Deserialize)]
        struct Config {
            digest: Option<Digest>,
            #[serde(rename = "Labels")]
            labels: Pairs,
        }
        #[derive(Deserialize)]
        struct RootFs {
            diff_ids: Option<Vec<Digest>>,
        }
        let raw: Raw = serde_json::from_slice(bytes).ok()?;
        let said = ImageLabels(pairs(raw.annotations).collect());
        match (raw.manifests, raw.layers, raw.rootfs) {
            // Two kinds at once read as two different images (CVE-2021-41190).
            (Some(entries), None, None) => Some(Self::Index { entries, said }),
            (None, Some(_), None) => Some(Self::Manifest { config: raw.config?.digest?, said }),
            (None, None, Some(rootfs)) => Some(Self::Config(ImageConfig {
                chain: chain_id(rootfs.diff_ids.unwrap_or_default()),
                labels: ImageLabels(pairs(raw.config.and_then(|config| config.labels)).collect()),
            })),
            _ => None,
        }
    }
}

impl Client {
    /// A small blob: of the cache, else of the content store, and its bytes compared with
    /// its digest.
    ///
    /// # Errors
    /// As [`Self::small_blob`].
    pub async fn document(&self, digest: &Digest, cache: &BlobCache) -> Result<Vec<u8>, Error> {
        let (key, here) = (*digest, cache.clone());
        let cached = tokio::task::spawn_blocking(move || here.get(&key)).await;
        if let Ok(Some(blob)) = cached {
            return Ok(blob);
        }
        let blob = self.small_blob(digest, DOCUMENT_MAX).await?;
        let (key, here, kept) = (*digest, cache.clone(), blob.clone());
        // Nobody waits for the disk to take it.
        tokio::task::spawn_blocking(move || here.put(&key, &kept));
        Ok(blob)
    }

    /// The image beneath `target` (an index, a manifest, or a config itself) whose layers
    /// have the chain id `chain`: what a container stands on. `None` where there is none:
    /// then whatever the target was, it is not what runs.
    ///
    /// # Errors
    /// When containerd does not tell. A platform whose documents were never fetched is
    /// passed over.
    pub async fn image_content(
        &self,
        target: &Digest,
        chain: Option<Digest>,
        cache: &BlobCache,
    ) -> Result<Option<ImageContent>, Error> {
        let here = Platform::here();
        let mut open = VecDeque::from([(vec![*target], ImageLabels::default())]);
        for _ in 0..DOCUMENTS_MAX {
            let Some((digests, mut labels)) = open.pop_front() else { return Ok(None) };
            let Some(digest) = digests.last() else { continue };
            let blob = match self.document(digest, cache).await {
                Ok(blob) => blob,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let below = |digest| [&digests[..], &[digest]].concat();
            match Document::read(&blob) {
                Some(Document::Index { entries, said }) => {
                    labels.0.extend(said.0);
                    // The platform that this node has goes first: nearly always it is that.
                    let (own, other): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| {
                        entry.platform.as_ref().is_none_or(|has| here.runs(has))
                    });
                    for (at, entry) in own.into_iter().chain(other).enumerate() {
                        let mut said = labels.clone();
                        said.0.extend(pairs(entry.annotations));
                        open.insert(at.min(open.len()), (below(entry.digest), said));
                    }
                }
                Some(Document::Manifest { config, said }) => {
                    labels.0.extend(said.0);
                    open.push_front((below(config), labels));
                }
                Some(Document::Config(config)) if config.chain == chain => {
                    labels.0.extend(config.labels.0);
                    return Ok(Some(ImageContent { digests, labels }));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// What reads an image's documents, for the fuzzer.
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Document::read(bytes);
    let _ = ImageConfig::read(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_two_kinds_is_none() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let manifest = format!(r#"{{"layers":[],"config":{{"digest":"{digest}"}}}}"#);
        assert!(matches!(Document::read(manifest.as_bytes()), Some(Document::Manifest { .. })));
        for both in [
            format!(r#"{{"manifests":[],"layers":[],"config":{{"digest":"{digest}"}}}}"#),
            format!(r#"{{"layers":[],"rootfs":{{}},"config":{{"digest":"{digest}"}}}}"#),
            r#"{"manifests":[],"rootfs":{}}"#.to_owned(),
            "{}".to_owned(),
        ] {
            assert!(Document::read(both.as_bytes()).is_none(), "{both}");
        }
    }

    #[test]
    fn an_author_is_known_by_key_and_value() {
        let config = br#"{"rootfs":{"diff_ids":[]},"config":{"Labels":{"a":"b"}}}"#;
        let config = ImageConfig::read(config).unwrap();
        assert!(config.labels.has("a", "b") && !config.labels.has("a", "c"));
        assert_eq!(config.chain, None);
        let none = ImageConfig::read(br#"{"rootfs":{"diff_ids":null},"config":{"Labels":null}}"#);
        assert_eq!(none, Some(ImageConfig { chain: None, labels: ImageLabels::default() }));
    }
}
