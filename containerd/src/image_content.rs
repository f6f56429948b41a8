//! From an image's record down to the one manifest whose layers a container has.

use std::collections::{BTreeSet, VecDeque};

use lacre_types::Digest;
use serde::Deserialize;

use crate::exact_names::Others;
use crate::images::{DOCUMENT_MAX, chain_id};
use crate::{BlobCache, Client, Error, Platform};

/// How many documents of one image are looked at: an index of every platform that there is,
/// with an attestation for each, has some thirty.
const DOCUMENTS_MAX: usize = 128;

/// Which image of a record it is that a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageContent {
    /// The digests by which it is known: of the record's target first, then of what lies
    /// below it, down to the manifest and the config. Each was computed from the bytes.
    pub digests: Vec<Digest>,
    /// The manifest, whose layers these are; of several that have them, one. `None` where a
    /// record names the config itself.
    pub manifest: Option<Digest>,
    /// What its author wrote.
    pub labels: ImageLabels,
    /// Several images of the index have these layers, and which of them it is nobody can tell:
    /// then `digests` are what they have in common, and `labels` what is in any.
    pub is_one_of_several: bool,
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
    /// What it was built for, by its own word.
    platform: Option<Platform>,
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
    #[serde(flatten)]
    _others: Others,
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
            os: Option<String>,
            architecture: Option<String>,
            #[serde(flatten)]
            _others: Others,
        }
        /// A manifest's is a descriptor, a config's holds the labels.
        #[derive(Deserialize)]
        struct Config {
            digest: Option<Digest>,
            #[serde(rename = "Labels")]
            labels: Pairs,
            #[serde(flatten)]
            _others: Others,
        }
        #[derive(Deserialize)]
        struct RootFs {
            diff_ids: Option<Vec<Digest>>,
            #[serde(flatten)]
            _others: Others,
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
                platform: raw.os.zip(raw.architecture).map(Platform::from),
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
    /// An index may have several with the same layers, and other words about them. Those for
    /// another machine than this one are looked at where there is none for this.
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
        let mut open = VecDeque::from([Open { digests: vec![*target], ..Open::default() }]);
        let (mut own, mut foreign) = (Vec::new(), Vec::new());
        for _ in 0..DOCUMENTS_MAX {
            let Some(at) = open.iter().position(|next| !next.is_foreign) else {
                // All that may be this machine's is known.
                if !own.is_empty() || open.is_empty() {
                    return Ok(ImageContent::of(own).or_else(|| ImageContent::of(foreign)));
                }
                open.iter_mut().for_each(|next| next.is_foreign = false);
                continue;
            };
            let Some(Open { digests, manifest, mut labels, is_declared, .. }) = open.remove(at)
            else {
                continue;
            };
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
                    for Entry { digest, platform, annotations, .. } in entries {
                        let mut labels = labels.clone();
                        labels.0.extend(pairs(annotations));
                        open.push_back(Open {
                            digests: below(digest),
                            manifest: None,
                            labels,
                            is_declared: platform.is_some(),
                            is_foreign: platform.is_some_and(|has| !here.may_run(&has)),
                        });
                    }
                }
                Some(Document::Manifest { config, said }) => {
                    labels.0.extend(said.0);
                    let (manifest, digests) = (Some(*digest), below(config));
                    let is_foreign = false;
                    open.push_front(Open { digests, manifest, labels, is_declared, is_foreign });
                }
                Some(Document::Config(config)) if config.chain == chain => {
                    labels.0.extend(config.labels.0);
                    // What its index does not say, its config does.
                    let for_here = is_declared
                        || config.platform.is_none_or(|has| here.may_run(&has))
                        || digests.len() <= 2;
                    let found = Found { digests, manifest, labels };
                    if for_here { &mut own } else { &mut foreign }.push(found);
                }
                _ => {}
            }
        }
        // What was not looked at may be what runs.
        Ok(None)
    }
}

/// A document that is to be looked at.
#[derive(Debug, Default)]
struct Open {
    /// Its digest last, before it those of the documents that lead to it.
    digests: Vec<Digest>,
    /// Of a config, the manifest that names it.
    manifest: Option<Digest>,
    /// What these say of it.
    labels: ImageLabels,
    /// An index says for which platform it is.
    is_declared: bool,
    /// For one that this machine does not run.
    is_foreign: bool,
}

/// An image that has the layers.
struct Found {
    digests: Vec<Digest>,
    manifest: Option<Digest>,
    labels: ImageLabels,
}

impl ImageContent {
    /// The one of several that a container may run, as far as they are one.
    fn of(several: Vec<Found>) -> Option<Self> {
        let mut several = several.into_iter();
        let Found { mut digests, mut manifest, mut labels } = several.next()?;
        let mut is_one_of_several = false;
        for Found { digests: others, manifest: other, labels: said } in several {
            manifest = manifest.or(other);
            let common = digests.iter().zip(&others).take_while(|(one, other)| one == other);
            let common = common.count();
            is_one_of_several |= common < digests.len() || common < others.len();
            digests.truncate(common);
            labels.0.extend(said.0);
        }
        Some(Self { digests, manifest, labels, is_one_of_several })
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
        let nothing = ImageConfig { chain: None, labels: ImageLabels::default(), platform: None };
        assert_eq!(none, Some(nothing));
    }

    /// containerd, which copies the labels, is of Go: it takes a name in any case for another,
    /// and of a name that comes twice it takes all.
    #[test]
    fn a_document_that_go_reads_otherwise_is_none() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for of_two_minds in [
            r#"{"rootfs":{"diff_ids":[]},"config":{"labels":{"a":"b"}}}"#.to_owned(),
            r#"{"rootfs":{"diff_ids":[]},"config":{},"CONFIG":{"Labels":{"a":"b"}}}"#.to_owned(),
            r#"{"rootfs":{"diff_ids":[]},"config":{"Label\u017f":{"a":"b"}}}"#.to_owned(),
            r#"{"rootfs":{"diff_ids":[]},"config":{"Labels":{},"Labels":{"a":"b"}}}"#.to_owned(),
            r#"{"rootfs":{"diff_ids":[],"Diff_ids":[]},"config":{}}"#.to_owned(),
            format!(r#"{{"layers":[],"config":{{"digest":"{digest}","Digest":"x"}}}}"#),
            format!(r#"{{"layers":[],"config":{{"digest":"{digest}"}},"Manifests":[]}}"#),
            format!(r#"{{"manifests":[{{"digest":"{digest}","Platform":{{}}}}]}}"#),
            format!(
                r#"{{"manifests":[{{"digest":"{digest}","platform":
                    {{"os":"linux","architecture":"arm64","OS":"linux"}}}}]}}"#
            ),
        ] {
            assert!(Document::read(of_two_minds.as_bytes()).is_none(), "{of_two_minds}");
        }
        // A label may be called as it likes, and what nobody reads too.
        let plain = br#"{"OS.Features":[],"rootfs":{"diff_ids":[],"type":"layers"},
            "config":{"Labels":{"labels":"a","LABELS":"b","Config":"c"},"Env":[]}}"#;
        assert!(ImageConfig::read(plain).unwrap().labels.has("LABELS", "b"));
    }

    fn one(digits: &str, label: &str) -> Found {
        let digest = |digit: char| format!("sha256:{}", digit.to_string().repeat(64));
        let digests = digits.chars().map(|digit| digest(digit).parse().unwrap());
        let digests: Vec<Digest> = digests.collect();
        let manifest = digests.iter().rev().nth(1).copied();
        let labels = [(label.to_owned(), String::new())].into_iter().collect();
        Found { digests, manifest, labels }
    }

    #[test]
    fn of_several_what_they_have_in_common_is_known() {
        assert_eq!(ImageContent::of(vec![]), None);
        let Found { digests, manifest, labels } = one("abc", "a");
        let alone = ImageContent { digests, manifest, labels, is_one_of_several: false };
        assert_eq!(ImageContent::of(vec![one("abc", "a")]), Some(alone.clone()));
        assert_eq!(ImageContent::of(vec![one("abc", "a"), one("abc", "a")]), Some(alone));
        let two = ImageContent::of(vec![one("abc", "a"), one("ade", "b")]).unwrap();
        assert_eq!((two.digests, two.is_one_of_several), (one("a", "a").digests, true));
        assert_eq!(two.manifest, one("bc", "a").digests.first().copied(), "any has the layers");
        assert!(two.labels.has("a", "") && two.labels.has("b", ""));
    }
}
