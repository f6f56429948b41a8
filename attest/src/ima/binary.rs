//! `binary_runtime_measurements`.

use lacre_types::Algorithm;

use super::entry::{Entry, EntryError, MAX_DATA, MAX_NAME, split};
use crate::pcr;

/// The order of the bytes of a number: the host's, unless `ima_canonical_fmt` is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// As on x86, and of the canonical form.
    Little,
    /// As on s390.
    Big,
}

impl Endian {
    /// What the first four bytes of a list, the number of a PCR, can only be.
    #[must_use]
    pub fn of_list(bytes: &[u8]) -> Option<Self> {
        let first = bytes.first_chunk::<4>()?;
        let little = u32::from_le_bytes(*first) < pcr::COUNT;
        Some(if little { Self::Little } else { Self::Big })
    }
}

/// The first entry, and how many bytes it takes; `None` when more bytes are needed.
///
/// # Errors
/// When the bytes are not an entry's, however many follow.
pub fn next(
    bytes: &[u8],
    digests: Algorithm,
    endian: Endian,
) -> Result<Option<(Entry<'_>, usize)>, EntryError> {
    let big_endian = endian == Endian::Big;
    let number = |at: usize| -> Option<usize> {
        let word = bytes.get(at..at.checked_add(4)?)?.first_chunk::<4>()?;
        let word = if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) };
        usize::try_from(word).ok()
    };
    let bounded = |what, len, max| {
        if len > max { Err(EntryError::Length { what, len, max }) } else { Ok(len) }
    };
    let Some(pcr) = number(0) else { return Ok(None) };
    let pcr = u32::try_from(pcr).unwrap_or(u32::MAX);
    if pcr >= pcr::COUNT {
        return Err(EntryError::Pcr(pcr));
    }
    let name_at = 4 + digests.len();
    let Some(name_len) = number(name_at) else { return Ok(None) };
    let name_len = bounded("template name", name_len, MAX_NAME)?;
    let name_end = name_at + 4 + name_len;
    let Some(template) = bytes.get(name_at + 4..name_end) else { return Ok(None) };
    // The oldest template has no length of its own: 20 bytes, then a text with its length.
    let (data_at, data_len) = if template == b"ima" {
        let Some(len) = number(name_end + 20) else { return Ok(None) };
        (name_end, 24 + bounded("file name", len, MAX_NAME)?)
    } else {
        let Some(len) = number(name_end) else { return Ok(None) };
        (name_end + 4, bounded("template data", len, MAX_DATA)?)
    };
    let Some(data) = bytes.get(data_at..data_at + data_len) else { return Ok(None) };
    if template != b"ima" {
        let mut rest = data;
        while !rest.is_empty() {
            rest = split(rest, big_endian).ok_or(EntryError::Fields)?.1;
        }
    }
    let logged = &bytes[4..name_at];
    Ok(Some((Entry { pcr, logged, template, data: Some(data), big_endian }, data_at + data_len)))
}
