//! The firmware's event log, `binary_bios_measurements` (TCG PC Client Platform Firmware
//! Profile, 10.2): what was measured before the kernel ran.

use std::collections::{BTreeMap, BTreeSet};

use lacre_types::{Algorithm, Digest};

use crate::pcr;

/// `EV_NO_ACTION`: not extended.
const NO_ACTION: u32 = 3;
/// No log has more banks.
const MAX_BANKS: u32 = 16;
/// More than any firmware's event: secure boot's databases are 100 KiB.
const MAX_EVENT: usize = 4 << 20;

/// Bytes that are no boot log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootLogError {
    /// The log ends within an event.
    #[error("it ends within event {0}")]
    Cut(usize),
    /// It is not in the form of TPM 2.0 (`Spec ID Event03`).
    #[error("it does not begin with Spec ID Event03; logs of TPM 1.2 are not read")]
    Header,
    /// An event has a number that no firmware writes.
    #[error("its event {event} has {what} {value}")]
    Value {
        /// Which event.
        event: usize,
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u32,
    },
}

/// A boot log, replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLog {
    pcrs: BTreeMap<u32, Digest>,
    events: Vec<(u32, Digest)>,
    without: u64,
}

struct Reader<'a> {
    rest: &'a [u8],
    event: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BootLogError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(BootLogError::Cut(self.event))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, BootLogError> {
        let taken = self.take(4)?;
        Ok(u32::from_le_bytes(taken.try_into().unwrap_or_default()))
    }

    fn u16(&mut self) -> Result<u16, BootLogError> {
        let taken = self.take(2)?;
        Ok(u16::from_le_bytes(taken.try_into().unwrap_or_default()))
    }

    fn sized(&mut self) -> Result<&'a [u8], BootLogError> {
        let value = self.u32()?;
        match usize::try_from(value) {
            Ok(len) if len <= MAX_EVENT => self.take(len),
            _ => Err(BootLogError::Value { event: self.event, what: "size", value }),
        }
    }
}

impl BootLog {
    /// Replays a log in one bank.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8], bank: Algorithm) -> Result<Self, BootLogError> {
        let mut reader = Reader { rest: bytes, event: 0 };
        let sizes = header(&mut reader)?;
        let mut log = Self { pcrs: BTreeMap::new(), events: Vec::new(), without: 0 };
        while !reader.rest.is_empty() {
            reader.event += 1;
            let event = reader.event;
            let index = reader.u32()?;
            let kind = reader.u32()?;
            let count = reader.u32()?;
            if count > MAX_BANKS {
                return Err(BootLogError::Value { event, what: "number of digests", value: count });
            }
            let mut digest = None;
            for _ in 0..count {
                let id = reader.u16()?;
                let what = "digest algorithm";
                let unknown = BootLogError::Value { event, what, value: id.into() };
                let len = sizes.get(&id).copied().ok_or(unknown)?;
                let bytes = reader.take(len)?;
                if id == crate::tpm2::id_of(bank) {
                    digest = Digest::new(bank, bytes);
                }
            }
            let data = reader.sized()?;
            if kind == NO_ACTION {
                // The locality at which PCR 0 began (10.4.5.3): of one that was extended
                // nothing can begin any more.
                let begins = index == 0 && log.events.iter().all(|(index, _)| *index != 0);
                let locality = data.strip_prefix(b"StartupLocality\0").filter(|_| begins);
                if let Some([locality]) = locality {
                    let mut start = vec![0; bank.len()];
                    start[bank.len() - 1] = *locality;
                    if let Some(start) = Digest::new(bank, &start) {
                        log.pcrs.insert(0, start);
                    }
                }
                continue;
            }
            // No TPM has that PCR: what some firmware notes there (`-1`) is extended nowhere.
            if index >= pcr::COUNT {
                continue;
            }
            let Some(digest) = digest else {
                log.without += 1;
                continue;
            };
            let value = log.pcrs.entry(index).or_insert_with(|| pcr::initial(bank, index));
            *value = pcr::extended(value, digest.as_bytes());
            log.events.push((index, digest));
        }
        Ok(log)
    }

    /// How many events it has that were extended, and have no digest of the bank: what that
    /// bank holds, it does not tell.
    #[must_use]
    pub const fn without(&self) -> u64 {
        self.without
    }

    /// What each PCR that it names must hold.
    #[must_use]
    pub const fn pcrs(&self) -> &BTreeMap<u32, Digest> {
        &self.pcrs
    }

    /// Whether something of that digest was measured to one of these PCRs.
    #[must_use]
    pub fn has(&self, digest: &Digest, pcrs: &BTreeSet<u32>) -> bool {
        self.events.iter().any(|(index, event)| event == digest && pcrs.contains(index))
    }
}

/// The first event, in the form of TPM 1.2: it names the banks and their digests' sizes.
fn header(reader: &mut Reader<'_>) -> Result<BTreeMap<u16, usize>, BootLogError> {
    reader.take(4 + 4 + 20)?;
    let mut data = Reader { rest: reader.sized()?, event: 0 };
    if data.take(16)? != b"Spec ID Event03\0" {
        return Err(BootLogError::Header);
    }
    data.take(8)?;
    let count = data.u32()?;
    if count > MAX_BANKS {
        return Err(BootLogError::Value { event: 0, what: "number of banks", value: count });
    }
    (0..count).map(|_| Ok((data.u16()?, usize::from(data.u16()?)))).collect()
}
