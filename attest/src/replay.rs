//! Replays a list: what each PCR must hold if the list is true.

use std::collections::BTreeMap;

use lacre_types::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::ima::Entry;
use crate::pcr;

/// How a kernel fills the banks other than SHA-1's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// With the digest of the template data in the bank's own algorithm (Linux 5.8 on).
    #[default]
    Own,
    /// With the SHA-1 digest and zeroes: no bank is then better than SHA-1.
    PaddedSha1,
}

/// What a list comes to: how many lines there were, and what the PCRs hold after them.
/// Feeding the rest of the list to one that was kept gives what the whole list gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// How many lines it was fed.
    pub lines: u64,
    /// How many of them were violations of measurement (ToMToU, open writers).
    pub violations: u64,
    #[serde(default)]
    fill: Fill,
    banks: BTreeMap<Algorithm, BTreeMap<u32, Digest>>,
}

/// What one line did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Its data gives its template digest.
    Sound,
    /// It stands for a violation, which has no digest.
    Violation,
    /// Its data gives another template digest than the list has: one of them was edited.
    Edited,
    /// A text whose data cannot be had: only the template digest itself was used.
    Opaque,
}

impl Replay {
    /// Nothing replayed yet, for these banks.
    #[must_use]
    pub fn new(banks: impl IntoIterator<Item = Algorithm>) -> Self {
        let banks = banks.into_iter().map(|bank| (bank, BTreeMap::new())).collect();
        Self { lines: 0, violations: 0, fill: Fill::Own, banks }
    }

    /// Nothing replayed yet, for the banks of this one, filled as these are.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.banks.keys().copied()).filled(self.fill)
    }

    /// The same for a kernel that fills its banks in that way.
    #[must_use]
    pub const fn filled(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }

    /// Takes the next line, of a list whose template digests are in that algorithm. A bank
    /// that the line's text does not suffice for is dropped: see [`Replay::value`].
    pub fn push(&mut self, entry: &Entry<'_>, digests: Algorithm) -> Line {
        self.lines += 1;
        if entry.is_violation() {
            self.violations += 1;
            self.extend_all(entry.pcr, |bank, fill| match fill {
                Fill::Own => Some(pcr::repeated(bank, 0xff)),
                Fill::PaddedSha1 => Some(pcr::padded(bank, &[0xff; 20])),
            });
            Line::Violation
        } else if let Some(hashed) = entry.hashed() {
            let own = pcr::hash(digests, &[&hashed]);
            self.extend_all(entry.pcr, |bank, fill| {
                Some(match fill {
                    Fill::Own if bank == digests => own,
                    Fill::Own => pcr::hash(bank, &[&hashed]),
                    Fill::PaddedSha1 => {
                        pcr::padded(bank, pcr::hash(Algorithm::Sha1, &[&hashed]).as_bytes())
                    }
                })
            });
            if own.as_bytes() == entry.logged { Line::Sound } else { Line::Edited }
        } else {
            self.extend_all(entry.pcr, |bank, fill| match fill {
                Fill::Own if bank == digests => Digest::new(bank, entry.logged),
                Fill::PaddedSha1 if digests == Algorithm::Sha1 => {
                    Some(pcr::padded(bank, entry.logged))
                }
                _ => None,
            });
            Line::Opaque
        }
    }

    fn extend_all(&mut self, index: u32, event: impl Fn(Algorithm, Fill) -> Option<Digest>) {
        let fill = self.fill;
        self.banks.retain(|bank, pcrs| {
            let Some(event) = event(*bank, fill) else { return false };
            let value = pcrs.entry(index).or_insert_with(|| pcr::initial(*bank, index));
            *value = pcr::extended(value, event.as_bytes());
            true
        });
    }

    /// What a PCR holds; `None` when the bank was not replayed, or could not be. A PCR that
    /// no line names holds what it holds after a reset.
    #[must_use]
    pub fn value(&self, bank: Algorithm, index: u32) -> Option<Digest> {
        let pcrs = self.banks.get(&bank)?;
        Some(pcrs.get(&index).copied().unwrap_or_else(|| pcr::initial(bank, index)))
    }

    /// The PCRs that lines named, in any bank.
    pub fn pcrs(&self) -> impl Iterator<Item = u32> + '_ {
        self.banks.values().next().into_iter().flat_map(|pcrs| pcrs.keys().copied())
    }
}
