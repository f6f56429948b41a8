//! What evidence is held against, as the verifier's code hands it over; `expect` reads it from
//! files.

use std::collections::{BTreeMap, BTreeSet};

use lacre_types::{Algorithm, CanonicalPath, Digest, Whitelist};
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use crate::container::{Keeper, Secret};
use crate::pcr::ListPcr;
use crate::tpm2::{EkRoots, Selection};

/// What a verifier holds evidence against. What it leaves out is not checked, and the
/// verdict says so.
#[derive(Clone)]
pub struct Expectations<'a> {
    /// The nonce that the node was asked with.
    pub nonce: Option<Nonce>,
    /// The name of the enrolled attestation key.
    pub ak_name: Option<Vec<u8>>,
    /// Whether this verifier enrolled that key, and so has seen that a maker of TPMs that it
    /// trusts, or who runs it, vouches for the TPM. A key's name alone does not tell.
    pub enrolled: bool,
    /// The makers of TPMs that are trusted.
    pub ek_roots: Option<EkRoots>,
    /// The bank in which lists are replayed.
    pub bank: Algorithm,
    /// The PCR of the host's list (`CONFIG_IMA_MEASURE_PCR_IDX`).
    pub host_pcr: ListPcr,
    /// Who keeps lists of containers on that node, and where they are anchored. Lists by any
    /// other are not looked at.
    pub anchors: BTreeMap<Keeper, ExpectedAnchor>,
    /// Which events of this boot were accounted for before.
    pub claims: Option<&'a Claims>,
    /// The PCRs that a quote must be over, at least.
    pub selection: Selection,
    /// What is asked of the kernel.
    pub kernel: Option<KernelPolicy>,
    /// What is asked of the host's programs.
    pub host: Option<HostPolicy<'a>>,
    /// The containers whose secrets the verifier has: of one tenant, or all.
    pub containers: Vec<ExpectedContainer<'a>>,
    /// What containers may run by their image, where nothing is said of the container itself.
    pub images: Option<&'a dyn ImageBaselines>,
    /// What tells these expectations of lines from others. Lines that were seen before are
    /// not judged again as long as it stays the same; without it, all of them always are.
    pub judged_by: Option<Digest>,
    /// Questions that are done without when they can't be checked, by the word before the
    /// colon of their names.
    pub waived: BTreeSet<String>,
    /// Questions that are done without whatever leaves them open, by the same names; and why.
    pub excused: BTreeMap<String, String>,
}

/// Where a keeper's lists are anchored: the verifier's word, never the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedAnchor {
    /// The PCR.
    pub pcr: ListPcr,
    /// What its SHA-256 bank held before the first line; `None`: what it holds after a reset.
    pub start: Option<Digest>,
}

impl ExpectedAnchor {
    /// In that PCR, from a reset on.
    #[must_use]
    pub const fn at(pcr: ListPcr) -> Self {
        Self { pcr, start: None }
    }

    /// Those of a node of which nothing is said but whether its kernel keeps the lists.
    #[must_use]
    pub fn standard(container_ima: bool) -> BTreeMap<Keeper, Self> {
        BTreeMap::from([match container_ima {
            true => (Keeper::Kernel, Self::at(ListPcr::KERNEL)),
            false => (Keeper::Shim, Self::at(ListPcr::SHIM)),
        }])
    }
}

/// The secret of a container's list, as the node gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The container's id.
    pub id: String,
    /// The number of its creation, where the node tells it.
    pub seq: Option<u64>,
    /// The secret.
    pub secret: Secret,
}

impl Expectations<'_> {
    /// Adds the lists that nothing was written of, and the secrets of those whose secret was
    /// not; of a container that came back under a name that something was written of, that is
    /// asked of each.
    pub fn add(&mut self, given: Vec<Given>) {
        let written: BTreeMap<String, ExpectedContainer<'_>> =
            self.containers.iter().map(|written| (written.id.clone(), written.clone())).collect();
        let (mut known, mut opened) = (BTreeSet::new(), BTreeSet::new());
        for Given { id, seq, secret } in given {
            let same = written.get(&id);
            let new = same.is_none_or(|same| same.is_not_of(seq, &secret));
            if !new || !known.insert((id.clone(), seq)) {
                continue;
            }
            let closed = same.filter(|same| same.secret.is_none() && same.may_be(seq));
            if closed.is_some() {
                opened.insert(id.clone());
            }
            self.containers.push(ExpectedContainer {
                secret: Some(secret),
                seq: closed.and_then(|written| written.seq).or(seq),
                keeper: same.and_then(|same| same.keeper),
                baseline: same.and_then(|same| same.baseline),
                // The node itself says that it is there.
                optional: false,
                id,
            });
        }
        self.containers.retain(|written| written.secret.is_some() || !opened.contains(&written.id));
    }
}

impl ExpectedContainer<'_> {
    /// Whether a list of that number, or any where it is not told, may be this one.
    fn may_be(&self, seq: Option<u64>) -> bool {
        self.seq.is_none() || seq.is_none() || self.seq == seq
    }

    /// Whether a secret opens a list that nothing is known of by this.
    fn is_not_of(&self, seq: Option<u64>, secret: &Secret) -> bool {
        match &self.secret {
            None => true,
            // Without a number there is one secret for all lists of that id.
            Some(own) => seq.is_some() && self.seq != seq && (self.seq.is_some() || own != secret),
        }
    }
}

impl std::fmt::Debug for Expectations<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expectations")
            .field("selection", &self.selection)
            .field("containers", &self.containers.len())
            .field("waived", &self.waived)
            .finish_non_exhaustive()
    }
}

impl Default for Expectations<'_> {
    fn default() -> Self {
        Self {
            nonce: None,
            ak_name: None,
            enrolled: false,
            ek_roots: None,
            bank: Algorithm::Sha256,
            host_pcr: ListPcr::HOST,
            anchors: ExpectedAnchor::standard(false),
            claims: None,
            selection: Selection::of(Algorithm::Sha256, 0..=10),
            kernel: None,
            host: None,
            containers: Vec::new(),
            images: None,
            judged_by: None,
            waived: BTreeSet::new(),
            excused: BTreeMap::new(),
        }
    }
}

/// A nonce, and how long it is good. Times are in seconds since 1970, the verifier's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nonce {
    /// The bytes that the quote must be over.
    pub value: crate::Blob,
    /// When it was handed out; without, its age is not asked.
    #[serde(default)]
    pub issued: Option<u64>,
    /// For how many seconds it is good.
    pub good_for: u64,
}

/// What is asked of the kernel and of what booted it. Each list that is not empty names
/// all that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KernelPolicy {
    /// Values of `boot_aggregate`: one for each combination of firmware, boot loader,
    /// kernel and command line that was measured.
    pub boot_aggregate: Vec<Digest>,
    /// Values of PCRs, in the bank of their algorithm.
    pub pcrs: BTreeMap<u32, Vec<Digest>>,
    /// Digests that must be in the boot log, such as the kernel image's.
    pub boot_events: Vec<Digest>,
    /// Versions (`uname -r`), which the kernel measures of itself when its IMA policy says
    /// `measure func=CRITICAL_DATA label=kernel_info`.
    pub versions: Vec<String>,
    /// Whether it must keep the containers' lists itself.
    pub container_ima: bool,
}

/// What is asked of the host's programs.
#[derive(Clone)]
pub struct HostPolicy<'a> {
    /// What the host may run.
    pub baseline: &'a dyn Whitelist,
    /// Programs that must have been measured: containerd, runc, the inner shim, lacre.
    pub programs: Vec<CanonicalPath>,
    /// Whether every file in the host's list must be in the baseline, not only `programs`.
    /// On a stock kernel that list holds the files of containers, too.
    pub everything: bool,
}

/// A container that the verifier may look into.
#[derive(Clone)]
pub struct ExpectedContainer<'a> {
    /// Its id.
    pub id: String,
    /// Its secret; `None` for the one that the node gives.
    pub secret: Option<Secret>,
    /// The number of its creation, where that is known: then an earlier one's list is
    /// told as such.
    pub seq: Option<u64>,
    /// Who must keep its list; `None` for either.
    pub keeper: Option<Keeper>,
    /// What it may run.
    pub baseline: Option<&'a dyn Whitelist>,
    /// Whether it may be absent: else a node that shows itself must show it.
    pub optional: bool,
}

/// What containers of an image may run.
pub trait ImageBaselines {
    /// The baseline for an image, by the name that the node tells.
    fn baseline(&self, image: &str) -> Option<&dyn Whitelist>;
}

impl std::fmt::Debug for HostPolicy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostPolicy")
            .field("programs", &self.programs)
            .field("everything", &self.everything)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ExpectedContainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpectedContainer").field("id", &self.id).finish_non_exhaustive()
    }
}
