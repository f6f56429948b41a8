//! The file as it is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lacre_types::{Algorithm, Digest};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::container::Keeper;
use crate::verify::KernelPolicy;

/// Bytes that are written in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Hex(pub Vec<u8>);

impl FromStr for Hex {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?));
        match bytes.collect() {
            Some(bytes) if odd.is_empty() => Ok(Self(bytes)),
            _ => Err("expected an even number of hex digits"),
        }
    }
}

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::bytes::to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is expected, as it is written. Names of files are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Written {
    pub(super) attestation_key: Option<Hex>,
    pub(super) makers: Vec<PathBuf>,
    pub(super) nonce: Option<Hex>,
    pub(super) pcrs: Option<Vec<u32>>,
    pub(super) bank: Option<Algorithm>,
    pub(super) kernel: Option<KernelPolicy>,
    pub(super) host: Option<WrittenHost>,
    pub(super) containers: BTreeMap<String, WrittenContainer>,
    /// In their order: of two globs the first holds.
    #[serde(deserialize_with = "in_order")]
    pub(super) images: Vec<(String, WrittenImage)>,
    /// Who keeps lists of containers, and in which PCR; left out: as `kernel` says.
    pub(super) anchors: Option<BTreeMap<Keeper, WrittenAnchor>>,
    pub(super) waive: Vec<WrittenWaiver>,
}

impl Written {
    /// The first key in it that only who verifies a single quote has to name: who enrols nodes
    /// knows their keys, and makes up the nonces.
    #[must_use]
    pub fn of_one_quote(&self) -> Option<&'static str> {
        let named = [
            ("attestationKey", self.attestation_key.is_some()),
            ("makers", !self.makers.is_empty()),
            ("nonce", self.nonce.is_some()),
        ];
        named.into_iter().find(|(_, is)| *is).map(|(key, _)| key)
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let containers = self.containers.values();
        let containers = containers.flat_map(|of| of.secret.iter().chain(&of.baseline));
        let images = self.images.iter().map(|(_, of)| &of.baseline);
        let host = self.host.iter().map(|host| &host.baseline);
        self.makers.iter().chain(containers).chain(images).chain(host).map(PathBuf::as_path)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrittenHost {
    pub(super) baseline: PathBuf,
    #[serde(default)]
    pub(super) programs: Vec<PathBuf>,
    #[serde(default)]
    pub(super) everything: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrittenContainer {
    /// A file of 64 hex digits. Without it, the secret is the one that the node gives.
    pub(super) secret: Option<PathBuf>,
    pub(super) seq: Option<u64>,
    pub(super) keeper: Option<Keeper>,
    pub(super) baseline: Option<PathBuf>,
    #[serde(default)]
    pub(super) optional: bool,
}

/// Of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WrittenImage {
    pub(super) baseline: PathBuf,
}

/// Where a keeper's lists are anchored.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(super) enum WrittenAnchor {
    /// In that PCR, from a reset on.
    Pcr(u32),
    /// In one that something else extends first.
    Begun(WrittenBegun),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenBegun {
    pub(super) pcr: u32,
    /// What its SHA-256 bank holds then.
    pub(super) start: Option<Digest>,
}

impl From<WrittenAnchor> for WrittenBegun {
    fn from(written: WrittenAnchor) -> Self {
        match written {
            WrittenAnchor::Pcr(pcr) => Self { pcr, start: None },
            WrittenAnchor::Begun(begun) => begun,
        }
    }
}

/// A question that is done without.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum WrittenWaiver {
    /// Where it can't be asked.
    Unasked(String),
    /// Whatever leaves it open.
    Excused {
        /// The question.
        question: String,
        /// Why.
        reason: String,
    },
}

impl FromStr for WrittenWaiver {
    type Err = &'static str;

    /// `QUESTION`, or `QUESTION=REASON`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None => Ok(Self::Unasked(text.to_owned())),
            Some((_, reason)) if reason.trim().is_empty() => Err("expected a reason after `=`"),
            Some((question, reason)) => {
                Ok(Self::Excused { question: question.to_owned(), reason: reason.to_owned() })
            }
        }
    }
}

/// A map's entries as they stand in the file.
fn in_order<'de, D: Deserializer<'de>>(map: D) -> Result<Vec<(String, WrittenImage)>, D::Error> {
    struct InOrder;
    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<(String, WrittenImage)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("images, each with its `baseline`")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    map.deserialize_map(InOrder)
}
