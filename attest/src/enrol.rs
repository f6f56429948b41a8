//! Enrolment and challenges: the messages, and what a verifier keeps of each node.
//!
//! ```text
//! node                                            verifier
//!  | ── Enrol {node, ek, chain, ak} ───────────────▶ | is the EK a TPM's? is the AK fit?
//!  | ◀── Proof {credential} ──────────────────────── | a secret, sealed to EK and AK's name
//!  | ── Activated {secret} ────────────────────────▶ | so both are in one TPM: enrolled
//!  |                                                 |
//!  | ◀── Challenge {nonce, selection, known} ─────── | on registration, on an interval
//!  | ── Evidence ──────────────────────────────────▶ | verify, keep what was seen
//! ```
//!
//! Pure: who calls it brings time, randomness and the wire.

use std::collections::{BTreeMap, BTreeSet};

use lacre_types::Digest;
use serde::{Deserialize, Serialize};

use crate::bytes::Blob;
use crate::container::Keeper;
use crate::evidence::EkPart;
use crate::tpm2::{
    Credential, CredentialError, EkError, EkRoots, Malformed, Public, Selection, Unsuitable,
    ak_suitable, make_credential, verify_ek,
};
use crate::verify::{Claims, Conclusion, Finding, Nonce, Seen, Verified};

/// A node's wish to be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// Its name.
    pub node: String,
    /// Its endorsement key.
    pub ek: EkPart,
    /// Its attestation key's `TPMT_PUBLIC`.
    pub ak: Blob,
}

/// What only the right TPM can open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// For `ActivateCredential`.
    pub credential: Credential,
}

/// That it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activated {
    /// The secret that was in it.
    pub secret: Blob,
}

/// What a node is to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// What the quote must be over.
    pub nonce: Blob,
    /// The PCRs that it must be over.
    pub selection: Selection,
    /// How far its lists are known, of the boot with this reset counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
}

/// From where on lists are wanted. A node that booted since sends them whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// The TPM's reset counter.
    pub reset_count: u32,
    /// How many lines of the host's list.
    pub host: u64,
    /// How many lines of each `aggregate`.
    pub aggregates: BTreeMap<Keeper, u64>,
    /// How many lines of each container's list, by `ID#SEQ`.
    pub containers: BTreeMap<String, u64>,
}

/// Which endorsement keys are taken for a TPM's.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// Those that one of these makers vouches for.
    pub makers: EkRoots,
    /// Those of these names, whoever vouches: TPMs without a certificate.
    pub keys: BTreeSet<Vec<u8>>,
}

impl Admission {
    fn check(&self, ek: &Public, chain: &[&[u8]], now: u64) -> Result<(), EkError> {
        if self.keys.contains(&ek.name()) {
            return Ok(());
        }
        verify_ek(ek, chain, &self.makers, now)
    }
}

/// Why a node is not enrolled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// A key can't be read.
    #[error("the node's {0} key can't be read")]
    Key(&'static str, #[source] Malformed),
    /// The attestation key could sign forged quotes.
    #[error("the node's attestation key can't vouch for a TPM")]
    Unsuitable(#[source] Unsuitable),
    /// The endorsement key is not known to be a TPM's.
    #[error("the node's endorsement key is not known to be of a real TPM")]
    Endorsement(#[source] EkError),
    /// No credential can be made for it.
    #[error("no credential can be made for the node's endorsement key")]
    Credential(#[source] CredentialError),
    /// The secret is another: the keys are not in one TPM.
    #[error("the node did not open its credential: the two keys are not of one TPM")]
    NotActivated,
}

/// An enrolment that waits for its secret. Kept in memory, and for a short time only.
#[derive(Clone)]
pub struct Pending {
    node: String,
    ek_name: Vec<u8>,
    ek_key: Vec<u8>,
    ak_name: Vec<u8>,
    secret: [u8; 32],
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Pending {
    /// Checks a node's keys, and seals `secret`, 32 fresh random bytes, to them.
    ///
    /// # Errors
    /// When the keys are not a TPM's.
    pub fn begin(
        enrol: &Enrol,
        admission: &Admission,
        secret: [u8; 32],
        now: u64,
    ) -> Result<(Self, Proof), EnrolError> {
        let ek = Public::parse(&enrol.ek.public).map_err(|e| EnrolError::Key("endorsement", e))?;
        let ak = Public::parse(&enrol.ak).map_err(|e| EnrolError::Key("attestation", e))?;
        ak_suitable(&ak).map_err(EnrolError::Unsuitable)?;
        let chain: Vec<&[u8]> = enrol.ek.chain.iter().map(|der| &**der).collect();
        admission.check(&ek, &chain, now).map_err(EnrolError::Endorsement)?;
        let credential =
            make_credential(&ek, &ak.name(), &secret).map_err(EnrolError::Credential)?;
        let (ek_name, ek_key, ak_name) = (ek.name(), ek.fingerprint(), ak.name());
        let pending = Self { node: enrol.node.clone(), ek_name, ek_key, ak_name, secret };
        Ok((pending, Proof { credential }))
    }

    /// Enrols the node, if it opened the credential.
    ///
    /// # Errors
    /// When it did not.
    pub fn finish(self, activated: &Activated, now: u64) -> Result<NodeState, EnrolError> {
        // One guess each: how long the comparison takes tells nothing of use.
        if *activated.secret != self.secret {
            return Err(EnrolError::NotActivated);
        }
        Ok(NodeState {
            node: self.node,
            ek_name: self.ek_name.into(),
            ek_key: Some(self.ek_key.into()),
            ak_name: self.ak_name.into(),
            enrolled: now,
            trust: Trust::Unknown,
            attested: None,
            challenge: None,
            seen: None,
            claims: None,
        })
    }
}

/// Whether a node is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// It was never attested, or what it showed did not suffice.
    Unknown,
    /// Its last evidence was all that it should be.
    Trusted,
    /// Its last evidence was not.
    Untrusted,
}

/// What a verifier keeps of a node: on disk, between challenges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    /// Its name.
    pub node: String,
    /// The name of its endorsement key: which TPM it is.
    pub ek_name: Blob,
    /// What names that key whatever else is said of it ([`Public::fingerprint`]); `None` of a
    /// node that enrolled before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_key: Option<Blob>,
    /// The name of its attestation key.
    pub ak_name: Blob,
    /// When it was enrolled, in seconds since 1970.
    pub enrolled: u64,
    /// Whether it is to be believed.
    pub trust: Trust,
    /// When it was last attested with success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<u64>,
    /// The challenge that it has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Nonce>,
    /// What was last seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Which events of this boot were accounted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
}

impl NodeState {
    /// A challenge with a fresh nonce, which must be answered within `good_for` seconds.
    /// One that was not answered before is void. Only a trusted node may leave out what is
    /// known: of another, all is looked at again, and so it is where what is expected of lines
    /// is not what it was ([`crate::verify::Expectations::judged_by`]).
    pub fn challenge(
        &mut self,
        nonce: [u8; 32],
        selection: Selection,
        judged_by: Option<&Digest>,
        now: u64,
        good_for: u64,
    ) -> Challenge {
        let nonce: Blob = nonce.to_vec().into();
        self.challenge = Some(Nonce { value: nonce.clone(), issued: Some(now), good_for });
        let seen = self.seen.as_ref().filter(|_| self.trust == Trust::Trusted);
        let seen = seen.filter(|seen| seen.was_judged_by(judged_by));
        let known = seen.map(|seen| Known {
            reset_count: seen.clock.reset_count,
            host: seen.host.as_ref().map_or(0, |host| host.lines),
            aggregates: seen.anchors.iter().map(|(k, a)| (*k, a.aggregate.lines)).collect(),
            containers: seen
                .anchors
                .values()
                .flat_map(|anchor| &anchor.containers)
                .map(|(name, audited)| (name.clone(), audited.lines))
                .collect(),
        });
        Challenge { nonce, selection, known }
    }

    /// Notes what came of the evidence that answered the challenge: the newest says what it is.
    /// A nonce serves once.
    pub fn note(&mut self, verified: Verified, now: u64) {
        self.challenge = None;
        self.claims = match (self.claims.take(), verified.claims) {
            (Some(known), Some(later)) => Some(known.and(later)),
            (known, later) => later.or(known),
        };
        // Late is not false: a TPM or a network was slow. Nor is it the truth of now.
        let findings = verified.verdict.findings().iter();
        let faults = findings.filter(|finding| finding.is_fault());
        let late = faults.clone().all(|finding| matches!(finding, Finding::NonceStale { .. }));
        match verified.verdict.conclusion() {
            Conclusion::Untrusted if late && faults.count() > 0 => self.doubt(),
            Conclusion::Trusted => {
                self.trust = Trust::Trusted;
                self.attested = Some(now);
                self.seen = verified.seen;
            }
            Conclusion::Unproven => {
                // Told once: no later evidence can tell more of them.
                for (keeper, list) in &verified.gone {
                    let anchor = self.seen.as_mut().and_then(|seen| seen.anchors.get_mut(keeper));
                    anchor.map(|anchor| anchor.open.remove(list));
                }
                self.trust = Trust::Unknown;
            }
            Conclusion::Untrusted => self.trust = Trust::Untrusted,
        }
    }

    /// Notes that it showed nothing that would prove it true; nor what it was found to be wrong.
    pub fn doubt(&mut self) {
        self.challenge = None;
        if self.trust != Trust::Untrusted {
            self.trust = Trust::Unknown;
        }
    }
}
