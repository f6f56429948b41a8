//! What a TPM signs in a quote: its clock, a nonce, and a digest over PCRs.

use std::collections::BTreeSet;

use lacre_types::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use super::algorithm::hash_of;
use super::reader::{Malformed, Reader};
use crate::pcr;

/// `TPM_GENERATED_VALUE`: what a TPM puts first in what it made itself, and what a
/// restricted key signs of nobody else's.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;
/// No TPM has more banks.
const MAX_BANKS: u32 = 16;

/// The TPM's clock and its counters of boots (Part 1, 36).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// Milliseconds that the TPM was powered, ever.
    pub clock: u64,
    /// How often it was reset: once a boot.
    pub reset_count: u32,
    /// How often it was resumed or restarted since the last reset: suspend, hibernation.
    pub restart_count: u32,
    /// Whether `clock` was never higher.
    pub safe: bool,
}

/// Which PCRs, in which banks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection(pub Vec<(Algorithm, BTreeSet<u32>)>);

impl Selection {
    /// Those PCRs of one bank.
    #[must_use]
    pub fn of(bank: Algorithm, pcrs: impl IntoIterator<Item = u32>) -> Self {
        Self(vec![(bank, pcrs.into_iter().collect())])
    }

    /// Whether it has that PCR in that bank.
    #[must_use]
    pub fn has(&self, bank: Algorithm, index: u32) -> bool {
        self.0.iter().any(|(of, pcrs)| *of == bank && pcrs.contains(&index))
    }

    /// Whether it has all that `other` has.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(bank, pcrs)| pcrs.iter().all(|index| self.has(*bank, *index)))
    }

    /// The digest that a quote over these values has; `None` when a value is missing.
    pub fn digest(
        &self,
        hash: Algorithm,
        value: impl Fn(Algorithm, u32) -> Option<Digest>,
    ) -> Option<Digest> {
        let mut all = Vec::new();
        for (bank, pcrs) in &self.0 {
            for index in pcrs {
                all.extend_from_slice(value(*bank, *index)?.as_bytes());
            }
        }
        Some(pcr::hash(hash, &[&all]))
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (bank, pcrs)) in self.0.iter().enumerate() {
            let list: Vec<String> = pcrs.iter().map(u32::to_string).collect();
            write!(f, "{}{bank}:{}", if at > 0 { "+" } else { "" }, list.join(","))?;
        }
        Ok(())
    }
}

/// A quote (`TPMS_ATTEST` of type quote).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// The qualified name of the key that signs it.
    pub signer: Vec<u8>,
    /// The nonce that it was asked with.
    pub nonce: Vec<u8>,
    /// The clock when it was made.
    pub clock: Clock,
    /// The TPM's firmware.
    pub firmware: u64,
    /// What it is over.
    pub selection: Selection,
    /// The digest of the selected PCRs' values, one after the other.
    pub pcr_digest: Vec<u8>,
}

impl Attest {
    /// Reads a quote.
    ///
    /// # Errors
    /// When the bytes are none, or were not made by a TPM.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u32("magic")?;
        if magic != GENERATED {
            return Err(Malformed::Value { what: "magic", value: magic.into() });
        }
        let kind = reader.u16("type")?;
        if kind != QUOTE {
            return Err(Malformed::Value { what: "type", value: kind.into() });
        }
        let signer = reader.sized("qualified signer")?.to_vec();
        let nonce = reader.sized("nonce")?.to_vec();
        let clock = Clock {
            clock: reader.u64("clock")?,
            reset_count: reader.u32("reset count")?,
            restart_count: reader.u32("restart count")?,
            safe: match reader.u8("safe flag")? {
                0 => false,
                1 => true,
                value => return Err(Malformed::Value { what: "safe flag", value: value.into() }),
            },
        };
        let firmware = reader.u64("firmware version")?;
        let selection = selection(&mut reader)?;
        let pcr_digest = reader.sized("PCR digest")?.to_vec();
        reader.end()?;
        Ok(Self { signer, nonce, clock, firmware, selection, pcr_digest })
    }
}

fn selection(reader: &mut Reader<'_>) -> Result<Selection, Malformed> {
    let count = reader.u32("number of banks")?;
    if count > MAX_BANKS {
        return Err(Malformed::Value { what: "number of banks", value: count.into() });
    }
    let mut banks = Vec::new();
    for _ in 0..count {
        let id = reader.u16("bank")?;
        let unknown = Malformed::Value { what: "bank", value: id.into() };
        let len = reader.u8("size of a PCR selection")?;
        let bits = reader.take("PCR selection", len.into())?;
        let set = |index: &u32| {
            bits.get(*index as usize / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
        };
        let pcrs: BTreeSet<u32> = (0..u32::from(len) * 8).filter(set).collect();
        match hash_of(id) {
            Some(bank) => banks.push((bank, pcrs)),
            // A TPM lists banks that nothing was asked of.
            None if pcrs.is_empty() => {}
            None => return Err(unknown),
        }
    }
    Ok(Selection(banks))
}
