//! The evidence file: all that a verifier needs of a node, in one piece.
//!
//! JSON, blobs in base64: every tool shows it, two files can be compared, and nothing in
//! it is signed as text (the TPM signs bytes of its own, which are one of the blobs), so
//! that a canonical encoding would win nothing. A list of a million lines is 180 MB.

use std::collections::{BTreeMap, BTreeSet};

use lacre_types::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::bytes::Blob;
use crate::container::Keeper;
use crate::ima::Form;

/// The version that this code writes, and the only one there is.
pub const VERSION: u32 = 1;

/// The most bytes that a file may have, about a million lines and an aggregate of as many.
pub const MAX_BYTES: u64 = 512 << 20;

/// No node has more containers at a time (`ima.container_max`), many times over.
const MAX_CONTAINERS: usize = 65_536;

/// What a node shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// [`VERSION`].
    pub version: u32,
    /// The node's name for itself.
    pub node: String,
    /// When it was taken, by the node's clock, in seconds since 1970. Proves nothing.
    pub taken: u64,
    /// What the TPM signed.
    pub quote: QuotePart,
    /// The attestation key's `TPMT_PUBLIC`.
    pub ak: Blob,
    /// The endorsement key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek: Option<EkPart>,
    /// The values of the quoted PCRs.
    pub pcrs: BTreeMap<Algorithm, BTreeMap<u32, Digest>>,
    /// The firmware's event log (`binary_bios_measurements`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_log: Option<Blob>,
    /// The host's measurement list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<ListPart>,
    /// The lists of containers, by who keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<AnchorPart>,
}

/// A quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotePart {
    /// `TPMS_ATTEST`.
    pub attest: Blob,
    /// `TPMT_SIGNATURE`.
    pub signature: Blob,
}

/// An endorsement key, and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EkPart {
    /// `TPMT_PUBLIC`.
    pub public: Blob,
    /// Its certificate, then those above it, without the root (DER).
    pub chain: Vec<Blob>,
}

/// A measurement list, or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPart {
    /// How it is written.
    pub form: Form,
    /// The algorithm of its template digests.
    pub digests: Algorithm,
    /// The number of its first line: 0, or how many the verifier already knows.
    pub first: u64,
    /// How many lines the kernel counted (`runtime_measurements_count`) before the list was
    /// read. A hint by which a list that was cut can be told as such; proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Its bytes.
    pub data: Blob,
}

/// The lists of all containers of one keeper, and what anchors them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorPart {
    /// Who keeps the lists.
    pub keeper: Keeper,
    /// The number of the first line of `aggregate` here.
    pub first: u64,
    /// `aggregate`.
    pub aggregate: Blob,
    /// The containers' lists: all, or those of one tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerPart>,
}

/// One container's list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPart {
    /// Its id. One that comes back has a list for each creation.
    pub id: String,
    /// The number of its creation.
    pub seq: u64,
    /// Its image, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Whether nobody keeps it any more, as the node says: then it must have its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// Its list.
    pub list: ListPart,
}

/// Why bytes are no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// They are too many.
    #[error("the evidence has {0} bytes; at most {MAX_BYTES} are taken")]
    TooLarge(u64),
    /// They are not JSON, or not of this form.
    #[error("the evidence is not of the form that docs/attestation.md describes")]
    Form(#[source] serde_json::Error),
    /// They are of another version.
    #[error("the evidence is of version {0}; this program reads version {VERSION}")]
    Version(u64),
    /// Something is there twice, and a verifier may look at one and its reader at the other.
    #[error("the evidence has {0} twice")]
    Twice(String),
    /// There are too many containers.
    #[error("the evidence has {0} containers; at most {MAX_CONTAINERS} are taken")]
    Containers(usize),
}

impl Evidence {
    /// Reads evidence.
    ///
    /// # Errors
    /// When the bytes are none, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(EvidenceError::TooLarge(bytes.len() as u64));
        }
        let evidence: Self = match serde_json::from_slice(bytes) {
            Ok(evidence) => evidence,
            Err(error) => {
                // A later version may have other fields: say so rather than which.
                #[derive(Deserialize)]
                struct Versioned {
                    version: u64,
                }
                return Err(match serde_json::from_slice::<Versioned>(bytes) {
                    Ok(Versioned { version }) if version != u64::from(VERSION) => {
                        EvidenceError::Version(version)
                    }
                    _ => EvidenceError::Form(error),
                });
            }
        };
        if evidence.version != VERSION {
            return Err(EvidenceError::Version(evidence.version.into()));
        }
        let containers = evidence.anchors.iter().map(|anchor| anchor.containers.len()).sum();
        if containers > MAX_CONTAINERS {
            return Err(EvidenceError::Containers(containers));
        }
        let mut keepers = BTreeSet::new();
        for anchor in &evidence.anchors {
            let mut ids = BTreeSet::new();
            if !keepers.insert(anchor.keeper) {
                return Err(EvidenceError::Twice(format!("the lists kept by {}", anchor.keeper)));
            }
            // A container that came back under its name has a list for each creation.
            let twice = anchor.containers.iter().find(|list| !ids.insert((&list.id, list.seq)));
            if let Some(twice) = twice {
                let id = lacre_types::escape(twice.id.as_bytes());
                return Err(EvidenceError::Twice(format!("the container {id}#{}", twice.seq)));
            }
        }
        Ok(evidence)
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Maps with text for keys, and no floats: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The value of a PCR, as the node tells it.
    #[must_use]
    pub fn pcr(&self, bank: Algorithm, index: u32) -> Option<Digest> {
        self.pcrs.get(&bank)?.get(&index).copied()
    }
}
