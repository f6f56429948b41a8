//! The index beside a baseline by which this node's own files are known without being read.

use std::path::Path;
use std::sync::Arc;

use lacre_sys::mmap::Mmap;
use lacre_types::{CanonicalPath, FileId, Kind, Known, KnownFile, base_name};

use crate::baseline::{Baseline, Bytes, open_trusted};
use crate::bytes::{Cursor, array, u32_at};
use crate::error::{Error, FormatError};
use crate::hash::sha256;
use crate::layer::{ID_LEN, put_id, take_id};
use crate::merge::Merged;

const MAGIC: &[u8; 8] = b"LACRENIX";
const VERSION: u32 = 2;
/// The part of the header that its own checksum covers.
const SUMMED: usize = 56;
pub(crate) const HEADER: usize = SUMMED + 32;

/// Which inode of this node held which content when it was hashed, so that a source can
/// tell an untouched file of the image without reading it. Mapped, like the baseline that
/// it stands beside.
pub struct NodeIndex {
    bytes: Bytes,
    /// What was scanned: a row of the index for each of its files.
    scanned: Arc<Baseline>,
    /// What may run; the same unless it came from elsewhere than the scan.
    allowed: Arc<Baseline>,
}

impl std::fmt::Debug for NodeIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIndex").field("scanned", &self.scanned).finish_non_exhaustive()
    }
}

/// The rows: a [`FileId`] per file, then the places of the files in the order of (device,
/// inode). Only the layers of directories have inodes.
pub(crate) fn encode(scanned: &Baseline, merged: &Merged) -> Result<Vec<u8>, FormatError> {
    let ids: Option<Vec<FileId>> = merged.files.iter().map(|(_, file, _)| file.id).collect();
    let ids = ids.ok_or(FormatError::Value("a scanned file has no inode"))?;
    let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(ids.len() * (ID_LEN + 4));
    for id in &ids {
        put_id(&mut body, id);
    }
    let mut order: Vec<(u32, u64, u32)> =
        ids.iter().zip(0..count).map(|(id, place)| (id.dev, id.ino, place)).collect();
    order.sort_unstable();
    for (_, _, place) in order {
        body.extend_from_slice(&place.to_le_bytes());
    }
    let mut out = header(scanned, count, &body).to_vec();
    out.extend_from_slice(&body);
    Ok(out)
}

pub(crate) fn header(scanned: &Baseline, count: u32, body: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&count.to_le_bytes());
    header[16..48].copy_from_slice(scanned.digest().as_bytes());
    header[48..52].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let checksum = sha256(&header[..SUMMED]);
    header[SUMMED..].copy_from_slice(&checksum);
    header
}

impl NodeIndex {
    pub(crate) fn open(
        path: &Path,
        scanned: Arc<Baseline>,
        allowed: Arc<Baseline>,
    ) -> Result<Self, Error> {
        let map = Mmap::map(&open_trusted(path)?).map_err(|e| Error::io("map", path, e))?;
        Self::parse(Bytes::Mapped(map), scanned, allowed).map_err(|source| Error::Format {
            what: "node index",
            path: path.to_owned(),
            source,
        })
    }

    pub(crate) fn parse(
        bytes: Bytes,
        scanned: Arc<Baseline>,
        allowed: Arc<Baseline>,
    ) -> Result<Self, FormatError> {
        check(bytes.get(), &scanned)?;
        Ok(Self { bytes, scanned, allowed })
    }

    /// The same, with another baseline that tells what may run.
    pub(crate) fn allowing(self, allowed: Arc<Baseline>) -> Self {
        Self { allowed, ..self }
    }

    /// How many files it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scanned.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scanned.is_empty()
    }

    fn id(&self, place: usize) -> Option<FileId> {
        let at = HEADER.checked_add(place.checked_mul(ID_LEN)?)?;
        take_id(&mut Cursor(self.bytes.get().get(at..at.checked_add(ID_LEN)?)?))
    }

    /// The place of the file that is `rank`-th by (device, inode).
    fn ranked(&self, rank: usize) -> Option<(usize, FileId)> {
        let at = HEADER + self.len() * ID_LEN + rank * 4;
        let place = usize::try_from(u32_at(self.bytes.get(), at)?).ok()?;
        Some((place, self.id(place)?))
    }

    fn file(&self, place: usize) -> Option<KnownFile> {
        let entry = self.scanned.get(place)?;
        Some(KnownFile { id: self.id(place)?, size: entry.size, digest: entry.sha256() })
    }

    fn allows(&self, place: usize) -> Option<FileId> {
        let scanned = self.scanned.get(place)?;
        if !matches!(scanned.kind, Kind::Elf | Kind::Library) {
            return None;
        }
        if !Arc::ptr_eq(&self.scanned, &self.allowed) {
            let allowed = self.allowed.get(self.allowed.position(scanned.path)?)?;
            if allowed.sha256() != scanned.sha256() {
                return None;
            }
        }
        self.id(place)
    }
}

fn check(bytes: &[u8], scanned: &Baseline) -> Result<(), FormatError> {
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or(FormatError::Magic)?;
    if header[..8] != *MAGIC {
        return Err(FormatError::Magic);
    }
    let version = u32_at(header, 8).unwrap_or_default();
    if version != VERSION {
        return Err(FormatError::Version { got: version, reads: VERSION });
    }
    if header[SUMMED..] != sha256(&header[..SUMMED]) {
        return Err(FormatError::Checksum("header"));
    }
    if array(header, 16).map(lacre_types::Digest::sha256) != Some(scanned.digest())
        || u32_at(header, 12).map(u64::from) != Some(scanned.len() as u64)
    {
        return Err(FormatError::Value("it belongs to another baseline"));
    }
    let expected = (HEADER + scanned.len() * (ID_LEN + 4)) as u64;
    let got = bytes.len() as u64;
    if expected != got {
        return Err(FormatError::Length { expected, got });
    }
    // A row whose bits flipped would let another file run unread: all of it is looked at,
    // once, for less than reading one library.
    if u32_at(header, 48) != bytes.get(HEADER..).map(crc32fast::hash) {
        return Err(FormatError::Checksum("rows"));
    }
    Ok(())
}

impl Known for NodeIndex {
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.file(self.scanned.resolve(path)?)
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let (_, id) = self.ranked(middle)?;
            if (id.dev, id.ino) < (dev, ino) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (place, id) = self.ranked(low)?;
        if (id.dev, id.ino) != (dev, ino) {
            return None;
        }
        let path = CanonicalPath::new(self.scanned.get(place)?.path).ok()?;
        Some((path, self.file(place)?))
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new((0..self.len()).filter_map(|place| self.allows(place)))
    }

    fn named(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, FileId)> {
        let name = |path| Some(base_name(path)).filter(|name| wanted(name)).map(<[u8]>::to_vec);
        let files = (0..self.len())
            .filter_map(|place| Some((name(self.scanned.get(place)?.path)?, self.allows(place)?)));
        let links = self.scanned.links().flatten().filter_map(|link| {
            let name = name(link.path)?;
            let place = self.scanned.resolve(&CanonicalPath::new(link.path).ok()?)?;
            Some((name, self.allows(place)?))
        });
        files.chain(links).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::small_index;

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let (baseline, mut bytes) = small_index();
            let open = |bytes: &[u8]| {
                let bytes = Bytes::Owned(bytes.to_vec());
                NodeIndex::parse(bytes, Arc::clone(&baseline), Arc::clone(&baseline))
            };
            prop_assert!(open(&bytes).is_ok());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(open(&bytes).is_err(), "byte {at}");
        }
    }
}
