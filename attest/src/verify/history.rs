//! What is kept of a node from one attestation to the next.

use std::collections::BTreeMap;

use lacre_types::Digest;
use serde::{Deserialize, Serialize};

use super::ListName;
use crate::container::{Aggregate, Audited, Keeper};
use crate::replay::Replay;
use crate::tpm2::Clock;

/// What a verifier keeps of a node between two attestations, so that the next one costs
/// only the new lines, and a reboot is told from a tampering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The TPM's clock and counters.
    pub clock: Clock,
    /// By what the lines were judged ([`super::Expectations::judged_by`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<Digest>,
    /// The host's list, as far as the TPM vouched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Replay>,
    /// What that list told of the boot.
    #[serde(default)]
    pub boot: SeenBoot,
    /// Each keeper's lists.
    #[serde(default)]
    pub anchors: BTreeMap<Keeper, SeenAnchor>,
}

impl Seen {
    /// Whether lines that it knows were judged by what that stands for, so that they need
    /// not be shown again.
    #[must_use]
    pub fn was_judged_by(&self, judged_by: Option<&Digest>) -> bool {
        judged_by.is_some() && self.judged_by.as_ref() == judged_by
    }
}

/// What the host's list told of the boot, as far as the TPM vouched for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenBoot {
    /// What its first line says that the PCRs of the boot were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_aggregate: Option<Digest>,
    /// The version that the kernel measured of itself, escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is kept of one keeper's lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAnchor {
    /// `aggregate`, as far as the TPM vouched for it.
    pub aggregate: Aggregate,
    /// Each container's list, by `ID#SEQ`.
    #[serde(default)]
    pub containers: BTreeMap<String, Audited>,
    /// What comes next of those lists that were not final.
    #[serde(default)]
    pub open: BTreeMap<String, SeenOpen>,
    /// The image by whose baseline all lines of a list were judged, where it was by that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// How many of its events no list accounted for, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclaimed: Option<u64>,
}

/// By what a verifier that has no secret any more sees that a container ended as it was known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenOpen {
    /// The tag of its next event.
    #[serde(with = "crate::bytes::hex32")]
    pub tag: [u8; 32],
    /// That event's value, if it is the list's end.
    #[serde(with = "crate::bytes::hex32")]
    pub close: [u8; 32],
}

/// How a container is named in [`SeenAnchor::containers`].
pub(super) fn name(id: &str, seq: u64) -> String {
    format!("{id}#{seq}")
}

/// What [`name`] gave a name to.
pub(super) fn named(name: &str) -> ListName {
    let parts = name.rsplit_once('#').and_then(|(id, seq)| Some((id, seq.parse().ok()?)));
    match parts {
        Some((id, seq)) => ListName { id: id.to_owned(), seq: Some(seq) },
        None => name.into(),
    }
}
