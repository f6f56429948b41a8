use std::collections::BTreeMap;

use lacre_types::Digest;
use serde::{Deserialize, Serialize};

use crate::container::{Aggregate, Audited, Keeper};
use crate::replay::Replay;
use crate::tpm2::Clock;

/// What a verifier keeps of a node between two attestations, so that the next one costs
/// only the new lines, and a reboot is told from a tampering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// The TPM's clock and counters.
    pub clock: Clock,
    /// The host's list, as far as the TPM vouched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Replay>,
    /// The list's `boot_aggregate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_aggregate: Option<Digest>,
    /// The version that the kernel measured of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Each keeper's lists.
    #[serde(default)]
    pub anchors: BTreeMap<Keeper, SeenAnchor>,
}

/// What is kept of one keeper's lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenAnchor {
    /// `aggregate`, as far as the TPM vouched for it.
    pub aggregate: Aggregate,
    /// Each container's list, by `ID#SEQ`.
    #[serde(default)]
    pub containers: BTreeMap<String, Audited>,
}

/// How a container is named in [`SeenAnchor::containers`].
pub(super) fn name(id: &str, seq: u64) -> String {
    format!("{id}#{seq}")
}
