//! The bytes of a baseline (docs/baselines.md).

use crate::Algorithms;
use crate::error::Error;
use crate::hash::sha256;
use crate::layer::kind_code;
use crate::merge::Merged;

pub(crate) const MAGIC: &[u8; 8] = b"LACREBAS";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER: usize = 128;
/// The part of the header that its own checksum covers.
pub(crate) const SUMMED: usize = 96;
/// A file's row: path offset, path length, kind, 0, size; then its digests.
pub(crate) const FILE: usize = 16;
/// A symbolic link's row: path offset, path length, target length, target offset.
pub(crate) const LINK: usize = 12;

/// The canonical part: the same bytes for the same content, wherever it came from.
pub(crate) fn build(algorithms: Algorithms, merged: &Merged) -> Result<Vec<u8>, Error> {
    let big = |what| Error::TooBig { what };
    let files = u32::try_from(merged.files.len()).map_err(|_| big("files"))?;
    let links = u32::try_from(merged.links.len()).map_err(|_| big("symbolic links"))?;
    let mut body = Vec::new();
    let mut names = Vec::new();
    let mut name = |bytes: &[u8]| {
        let at = u32::try_from(names.len()).map_err(|_| big("bytes of paths"))?;
        let len = u16::try_from(bytes.len()).map_err(|_| big("bytes of one path"))?;
        names.extend_from_slice(bytes);
        Ok::<_, Error>((at, len))
    };
    for (path, file, _) in &merged.files {
        let (at, len) = name(path)?;
        body.extend_from_slice(&at.to_le_bytes());
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(&[kind_code(file.kind), 0]);
        body.extend_from_slice(&file.size.to_le_bytes());
        body.extend_from_slice(&file.digests);
    }
    for (path, target) in &merged.links {
        let (at, len) = name(path)?;
        let (target_at, target_len) = name(target)?;
        body.extend_from_slice(&at.to_le_bytes());
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(&target_len.to_le_bytes());
        body.extend_from_slice(&target_at.to_le_bytes());
    }
    body.extend_from_slice(&names);
    // A whole number of 8 bytes, so that what follows may be read as words.
    body.resize(body.len().next_multiple_of(8), 0);

    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&algorithms.bits().to_le_bytes());
    out.extend_from_slice(&files.to_le_bytes());
    out.extend_from_slice(&links.to_le_bytes());
    out.extend_from_slice(&(names.len() as u64).to_le_bytes());
    out.extend_from_slice(&((HEADER + body.len()) as u64).to_le_bytes());
    out.extend_from_slice(&sha256(&body));
    out.resize(SUMMED, 0);
    let checksum = sha256(&out);
    out.extend_from_slice(&checksum);
    out.extend_from_slice(&body);
    Ok(out)
}
