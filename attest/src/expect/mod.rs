//! The file that says what is expected of a node, and the files that it names
//! (docs/attestation.md).

mod error;
mod file_format;
mod files;
#[cfg(test)]
mod tests;

pub use error::{CertificateError, ExpectError};
pub use file_format::{Hex, Written, WrittenWaiver};
pub use files::{certificates, makers, read, secret};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lacre_baseline::Baseline;
use lacre_policy::Images;
use lacre_types::{Algorithm, CanonicalPath, Digest, Whitelist, escape};
use serde::Serialize;

use crate::container::{Keeper, Secret};
use crate::pcr::{ListPcr, is_resettable, owner};
use crate::tpm2::{EkRoots, Selection};
use crate::verify::{
    Expectations, ExpectedAnchor, ExpectedContainer, HostPolicy, ImageBaselines, Nonce,
};
use file_format::{WrittenAnchor, WrittenBegun};
use files::baseline;

/// What is expected, and the files that it names.
#[derive(Debug, Default)]
pub struct Expected {
    written: Written,
    programs: Vec<CanonicalPath>,
    roots: Option<EkRoots>,
    host: Option<Baseline>,
    containers: BTreeMap<String, (Option<Secret>, Option<Baseline>)>,
    images: ByImage,
    anchors: Option<BTreeMap<Keeper, ExpectedAnchor>>,
}

/// The baselines of images: those of [`Written::images`], in that order.
#[derive(Debug, Default)]
struct ByImage {
    named: Images<usize>,
    baselines: Vec<Baseline>,
}

impl ByImage {
    fn get(&self, image: &str) -> Option<&Baseline> {
        self.baselines.get(*self.named.get(image)?)
    }
}

impl ImageBaselines for ByImage {
    fn baseline(&self, image: &str) -> Option<&dyn Whitelist> {
        self.get(image).map(|baseline| baseline as &dyn Whitelist)
    }
}

/// Each keeper's PCR, which can't be set back, nor is another list's.
fn anchors(
    written: &BTreeMap<Keeper, WrittenAnchor>,
) -> Result<BTreeMap<Keeper, ExpectedAnchor>, ExpectError> {
    let mut taken = BTreeSet::from([ListPcr::HOST]);
    let anchor = |(keeper, written): (&Keeper, &WrittenAnchor)| {
        let WrittenBegun { pcr: index, start } = (*written).into();
        if index >= crate::pcr::COUNT {
            return Err(ExpectError::Pcr(index));
        }
        let pcr = ListPcr::new(index).ok_or(ExpectError::Resettable(index))?;
        if let (Keeper::Shim, Some(owner)) = (keeper, owner(index)) {
            return Err(ExpectError::Owned { pcr: index, owner });
        }
        if !taken.insert(pcr) {
            return Err(ExpectError::SharedPcr(index));
        }
        if let Some(start) = start.filter(|start| start.algorithm() != Algorithm::Sha256) {
            return Err(ExpectError::Start(start));
        }
        Ok((*keeper, ExpectedAnchor { pcr, start }))
    };
    written.iter().map(anchor).collect()
}

impl Expected {
    /// Reads a file of expectations, and those that it names.
    ///
    /// # Errors
    /// When one can't be read, or is not what it should be.
    pub fn read(path: &Path) -> Result<Self, ExpectError> {
        let written = serde_yaml::from_slice(&read(path)?)
            .map_err(|error| ExpectError::Form(path.to_owned(), error))?;
        Self::open(written, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads the files that expectations name, relative to that folder.
    ///
    /// # Errors
    /// When one can't be read, or is not what it should be.
    pub fn open(written: Written, folder: &Path) -> Result<Self, ExpectError> {
        let host = written.host.as_ref().map(|host| baseline(&folder.join(&host.baseline)));
        let mut containers = BTreeMap::new();
        for (id, container) in &written.containers {
            let secret = container.secret.as_ref().map(|path| secret(&folder.join(path)));
            let baseline = container.baseline.as_ref().map(|path| baseline(&folder.join(path)));
            containers.insert(id.clone(), (secret.transpose()?, baseline.transpose()?));
        }
        let named = written.images.iter().enumerate().map(|(at, (name, _))| (name, at));
        let named = Images::new(named).map_err(ExpectError::Images)?;
        let baselines = written.images.iter().map(|(_, of)| baseline(&folder.join(&of.baseline)));
        let images = ByImage { named, baselines: baselines.collect::<Result<_, _>>()? };
        let roots = match written.makers.is_empty() {
            true => None,
            false => Some(makers(&written.makers, folder)?),
        };
        let pcrs = written.pcrs.iter().flatten();
        if let Some(index) = pcrs.into_iter().find(|index| **index >= crate::pcr::COUNT) {
            return Err(ExpectError::Pcr(*index));
        }
        let judged = written.kernel.iter().flat_map(|kernel| kernel.pcrs.keys());
        if let Some(index) = judged.into_iter().find(|index| is_resettable(**index)) {
            return Err(ExpectError::Resettable(*index));
        }
        let anchors = written.anchors.as_ref().map(anchors).transpose()?;
        let unexplained = written.waive.iter().find_map(|waiver| match waiver {
            WrittenWaiver::Excused { question, reason } if reason.trim().is_empty() => {
                Some(question.clone())
            }
            _ => None,
        });
        if let Some(question) = unexplained {
            return Err(ExpectError::NoReason(question));
        }
        let program = |path: &PathBuf| {
            let bytes = path.as_os_str().as_encoded_bytes();
            CanonicalPath::new(bytes).map_err(|_| ExpectError::Program(escape(bytes)))
        };
        let programs = written.host.iter().flat_map(|host| &host.programs).map(program);
        let programs = programs.collect::<Result<_, _>>()?;
        Ok(Self { programs, roots, host: host.transpose()?, containers, images, anchors, written })
    }

    /// A container whose secret is not there. Only who is given the secrets with the evidence
    /// does without.
    #[must_use]
    pub fn without_secret(&self) -> Option<&str> {
        let mut all = self.containers.iter();
        all.find(|(_, (secret, _))| secret.is_none()).map(|(id, _)| id.as_str())
    }

    /// Who keeps lists of containers, and where they are anchored.
    #[must_use]
    pub fn anchors(&self) -> BTreeMap<Keeper, ExpectedAnchor> {
        let kernel = self.written.kernel.as_ref().is_some_and(|kernel| kernel.container_ima);
        self.anchors.clone().unwrap_or_else(|| ExpectedAnchor::standard(kernel))
    }

    /// What to verify by. Waives `waive`, too.
    #[must_use]
    pub fn expectations(&self, nonce: Option<&Hex>, waive: &[WrittenWaiver]) -> Expectations<'_> {
        let written = &self.written;
        let (mut waived, mut excused) = (BTreeSet::new(), BTreeMap::new());
        for waiver in written.waive.iter().chain(waive).cloned() {
            match waiver {
                WrittenWaiver::Unasked(question) => _ = waived.insert(question),
                WrittenWaiver::Excused { question, reason } => {
                    _ = excused.insert(question, reason);
                }
            }
        }
        let nonce = nonce.or(written.nonce.as_ref()).map(|nonce| Nonce {
            value: nonce.0.clone().into(),
            issued: None,
            good_for: 0,
        });
        let host = written.host.as_ref().zip(self.host.as_ref()).map(|(host, baseline)| {
            let programs = self.programs.clone();
            HostPolicy { baseline, programs, everything: host.everything }
        });
        let containers = self.containers.iter().filter_map(|(id, (secret, baseline))| {
            let written = written.containers.get(id)?;
            Some(ExpectedContainer {
                id: id.clone(),
                secret: secret.clone(),
                seq: written.seq,
                keeper: written.keeper,
                baseline: baseline.as_ref().map(|baseline| baseline as &dyn Whitelist),
                optional: written.optional,
            })
        });
        Expectations {
            nonce,
            ak_name: written.attestation_key.as_ref().map(|name| name.0.clone()),
            ek_roots: self.roots.clone(),
            bank: self.bank(),
            selection: self.selection(),
            kernel: written.kernel.clone(),
            host,
            containers: containers.collect(),
            images: (!written.images.is_empty()).then_some(&self.images as &dyn ImageBaselines),
            judged_by: Some(self.judged_by()),
            anchors: self.anchors(),
            waived,
            excused,
            ..Expectations::default()
        }
    }

    /// The PCRs that a quote must be over: those that the file names, or else of the boot and
    /// of the host's list; and those of containers' lists.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let lists = self.anchors().into_values().map(|anchor| anchor.pcr.index());
        match &self.written.pcrs {
            Some(pcrs) => Selection::of(self.bank(), pcrs.iter().copied().chain(lists)),
            None => Selection::of(self.bank(), (0..=10).chain(lists)),
        }
    }

    /// What tells these expectations of lines from others: a digest over all that a line, or
    /// who keeps it, is judged by. What is asked of a quote, or of the kernel as a whole, is
    /// asked anew each time.
    #[must_use]
    pub fn judged_by(&self) -> Digest {
        #[derive(Serialize)]
        struct Judged<'a> {
            // Another version may judge otherwise.
            version: &'a str,
            bank: Algorithm,
            host: Option<(Digest, Vec<String>, bool)>,
            containers: Vec<Container<'a>>,
            images: Vec<(&'a str, Digest)>,
            anchors: Vec<(Keeper, u32, Option<Digest>)>,
        }
        #[derive(Serialize)]
        struct Container<'a> {
            id: &'a str,
            seq: Option<u64>,
            keeper: Option<Keeper>,
            baseline: Option<Digest>,
        }
        let host = self.written.host.as_ref().zip(self.host.as_ref());
        let containers = self.written.containers.iter().map(|(id, written)| {
            let baseline = self.containers.get(id).and_then(|(_, baseline)| baseline.as_ref());
            let (seq, keeper) = (written.seq, written.keeper);
            Container { id, seq, keeper, baseline: baseline.map(Baseline::digest) }
        });
        let images = self.written.images.iter().zip(&self.images.baselines);
        let anchors = self.anchors().into_iter();
        let judged = Judged {
            version: env!("CARGO_PKG_VERSION"),
            bank: self.bank(),
            host: host.map(|(written, baseline)| {
                let programs = self.programs.iter().map(ToString::to_string).collect();
                (baseline.digest(), programs, written.everything)
            }),
            containers: containers.collect(),
            images: images.map(|((name, _), baseline)| (&**name, baseline.digest())).collect(),
            anchors: anchors.map(|(keeper, at)| (keeper, at.pcr.index(), at.start)).collect(),
        };
        // Of text, numbers and digests: this cannot fail.
        let text = serde_json::to_vec(&judged).unwrap_or_default();
        crate::pcr::hash(Algorithm::Sha256, &[&text])
    }

    /// The bank of the PCRs.
    #[must_use]
    pub fn bank(&self) -> Algorithm {
        self.written.bank.unwrap_or(Algorithm::Sha256)
    }

    /// The layer that a container's file came from, by the container's own baseline or else
    /// its image's: its diff ID, or its number.
    #[must_use]
    pub fn layer(&self, container: &str, image: &str, path: &CanonicalPath) -> Option<String> {
        let own = self.containers.get(container).and_then(|(_, baseline)| baseline.as_ref());
        let baseline = own.or_else(|| self.images.get(image))?;
        Some(baseline.layer_of(path)?.to_string())
    }
}
