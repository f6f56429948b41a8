//! Sparse files in PAX (GNU's formats 0.0, 0.1 and 1.0), which containerd unpacks. The old
//! GNU type has a flag of its own, and is one that it does not.

use super::pax::{Records, decimal, value};

/// The most regions of one file: as many as Go reads. Each is two lines of the member.
pub(super) const REGIONS: usize = 1 << 20;

/// Where a map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    InRecords,
    InContent,
}

/// Which form a member's records tell, if any.
pub(super) fn map(records: &Records) -> Option<Map> {
    let number = |key: &[u8]| value(records, key).unwrap_or_default();
    match (number(b"GNU.sparse.major"), number(b"GNU.sparse.minor")) {
        (b"0", b"0" | b"1") => Some(Map::InRecords),
        (b"1", b"0") => Some(Map::InContent),
        (b"", b"") => value(records, b"GNU.sparse.map").map(|_| Map::InRecords),
        _ => None,
    }
}

/// What is data of a file; the rest are zeros.
#[derive(Debug)]
pub(super) struct Regions {
    /// Offset and length, in order, none empty; the last one first.
    data: Vec<(u64, u64)>,
    size: u64,
    at: u64,
}

/// What comes next in a file.
pub(super) enum Next {
    Data(u64),
    Hole(u64),
    End,
}

impl Regions {
    /// `None` when the map overlaps, or leaves the file.
    pub(super) fn new(map: &[(i64, i64)], size: i64) -> Option<Self> {
        let size = u64::try_from(size).ok()?;
        let mut data = Vec::with_capacity(map.len());
        let mut end = 0;
        for (offset, len) in map {
            let (offset, len) = (u64::try_from(*offset).ok()?, u64::try_from(*len).ok()?);
            if offset < end {
                return None;
            }
            end = offset.checked_add(len).filter(|end| *end <= size)?;
            if len > 0 {
                data.push((offset, len));
            }
        }
        data.reverse();
        Some(Self { data, size, at: 0 })
    }

    /// The bytes of data, which the member has to hold.
    pub(super) fn len(&self) -> u64 {
        self.data.iter().map(|(_, len)| len).sum()
    }

    pub(super) fn next(&self) -> Next {
        match self.data.last() {
            Some((offset, len)) if self.at >= *offset => Next::Data(offset + len - self.at),
            Some((offset, _)) => Next::Hole(offset - self.at),
            None if self.at < self.size => Next::Hole(self.size - self.at),
            None => Next::End,
        }
    }

    pub(super) fn advance(&mut self, by: u64) {
        self.at += by;
        if self.data.last().is_some_and(|(offset, len)| self.at >= offset + len) {
            self.data.pop();
        }
    }
}

/// The map of formats 0.0 and 0.1.
pub(super) fn in_records(records: &Records) -> Option<Vec<(i64, i64)>> {
    let count = decimal(records.get(&b"GNU.sparse.numblocks"[..])?)?;
    let text = value(records, b"GNU.sparse.map").unwrap_or_default();
    let numbers: Vec<&[u8]> = match text {
        b"" => Vec::new(),
        text => text.split(|byte| *byte == b',').collect(),
    };
    if !numbers.len().is_multiple_of(2) || usize::try_from(count).ok()? != numbers.len() / 2 {
        return None;
    }
    numbers.chunks_exact(2).map(|pair| Some((decimal(pair[0])?, decimal(pair[1])?))).collect()
}

/// The map of format 1.0: lines at the beginning of the content, padded to a whole block.
/// `block` gives the next one.
pub(super) fn in_content<E>(
    mut block: impl FnMut() -> Result<[u8; 512], E>,
) -> Result<Option<Vec<(i64, i64)>>, E> {
    let mut lines = Lines::default();
    let Some(count) = lines.next(&mut block)? else { return Ok(None) };
    let Some(count) = usize::try_from(count).ok().filter(|count| *count <= REGIONS) else {
        return Ok(None);
    };
    let mut map = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(len)) = (lines.next(&mut block)?, lines.next(&mut block)?) else {
            return Ok(None);
        };
        map.push((offset, len));
    }
    Ok(Some(map))
}

#[derive(Default)]
struct Lines {
    block: Vec<u8>,
    at: usize,
}

impl Lines {
    /// The number on the next line, `None` when it is none.
    fn next<E>(
        &mut self,
        block: &mut impl FnMut() -> Result<[u8; 512], E>,
    ) -> Result<Option<i64>, E> {
        let mut line = Vec::new();
        loop {
            let rest = &self.block[self.at..];
            if let Some(len) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&rest[..len]);
                self.at += len + 1;
                return Ok(decimal(&line));
            }
            line.extend_from_slice(rest);
            // No number is that long; Go would read on, and refuse it.
            if line.len() > 2 * 512 {
                return Ok(None);
            }
            self.block = block()?.to_vec();
            self.at = 0;
        }
    }
}
