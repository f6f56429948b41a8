//! The JSON documents of an image (OCI image-spec 1.1, Docker's `manifest.json`), as far
//! as they lead to its layers.

use std::collections::BTreeMap;

use lacre_types::{Digest, escape};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::platform::Platform;
use crate::error::{BlobError, Error};
use crate::hash::sha256;

/// The most bytes of one document; containerd's own limit for manifests is 8 MiB.
pub(super) const MAX: u64 = 8 << 20;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    size: Option<u64>,
    platform: Option<DescriptorPlatform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct DescriptorPlatform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

/// A manifest or an index; which, is told by what it holds.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    pub(super) manifests: Option<Vec<Descriptor>>,
    pub(super) config: Option<Descriptor>,
    pub(super) layers: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Config {
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<Digest>>,
}

/// One image of `docker save`.
#[derive(Debug, Deserialize)]
pub(super) struct Saved {
    #[serde(rename = "Config")]
    pub(super) config: String,
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    pub(super) layers: Vec<String>,
}

pub(super) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::blob(escape(what.as_bytes()), BlobError::Json(error)))
}

/// `docker save` names the configuration by its digest: `<hex>.json`, or a blob's path.
pub(super) fn check_config_name(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let last = name.rsplit('/').next().unwrap_or_default();
    let hex = last.strip_suffix(".json").unwrap_or(last);
    let got = Digest::sha256(sha256(bytes));
    match format!("sha256:{hex}").parse::<Digest>() {
        Ok(expected) if expected != got => {
            Err(Error::blob(escape(name.as_bytes()), BlobError::Digest { expected, got }))
        }
        _ => Ok(()),
    }
}

impl Saved {
    pub(super) fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl Config {
    pub(super) fn diff_ids(self, what: &str, layers: usize) -> Result<Vec<Digest>, Error> {
        let diff_ids = self.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() != layers {
            let why = format!(
                "it lists {} diff IDs for the {layers} layers of its image",
                diff_ids.len()
            );
            return Err(Error::blob(escape(what.as_bytes()), BlobError::Unusable(why)));
        }
        Ok(diff_ids)
    }
}

impl Descriptor {
    pub(super) const fn of(digest: Digest) -> Self {
        Self { media_type: String::new(), digest, size: None, platform: None, annotations: None }
    }

    pub(super) const fn known_size(&self) -> Option<u64> {
        self.size
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .into_iter()
            .filter_map(|key| self.annotation(key))
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// BuildKit puts its attestations beside the images, under a platform `unknown`.
    pub(super) fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
            || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    /// A descriptor that names no platform fits all.
    pub(super) fn fits(&self, wanted: &Platform) -> bool {
        self.platform.as_ref().is_none_or(|own| {
            own.os == wanted.os
                && own.architecture == wanted.architecture
                && (wanted.variant.is_none() || own.variant == wanted.variant)
        })
    }

    pub(super) fn is_variant_of(&self, other: &Self) -> bool {
        self.platform.is_some() && other.platform.is_some() && self.names().eq(other.names())
    }

    pub(super) fn shown(&self) -> String {
        let name = self.names().next().map(|name| escape(name.as_bytes()));
        let name = name.unwrap_or_else(|| self.digest.to_string());
        match &self.platform {
            Some(platform) => {
                let text = format!("{}/{}", platform.os, platform.architecture);
                format!("{name} ({})", escape(text.as_bytes()))
            }
            None => name,
        }
    }
}
