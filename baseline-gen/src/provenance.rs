//! The part of a baseline that says which layer each file came in.

use lacre_types::{Algorithm, Digest};

use crate::bytes::{Cursor, array, u16_at};
use crate::error::FormatError;
use crate::hash::sha256;
use crate::merge::Merged;

const MAGIC: &[u8; 8] = b"LACREPRV";
const VERSION: u32 = 1;
/// A layer's row: 1 when its diff ID is known, and the diff ID.
const LAYER: usize = 33;

/// Which layer each file came from. It follows the canonical part, and is no part of what
/// names a baseline: a root file system has no layers, yet the same content.
#[derive(Debug, Clone, Copy)]
pub struct Provenance<'a> {
    layers: &'a [u8],
    files: &'a [u8],
}

impl<'a> Provenance<'a> {
    /// magic, version, number of layers, the layers, a layer's index per file, and the
    /// SHA-256 of all that.
    pub(crate) fn append(out: &mut Vec<u8>, merged: &Merged, layers: &[Option<Digest>]) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(layers.len()).unwrap_or(u32::MAX).to_le_bytes());
        for layer in layers {
            let known = layer.filter(|digest| digest.algorithm() == Algorithm::Sha256);
            out.push(u8::from(known.is_some()));
            let bytes: [u8; 32] = known.and_then(|d| array(d.as_bytes(), 0)).unwrap_or_default();
            out.extend_from_slice(&bytes);
        }
        for (_, _, layer) in &merged.files {
            out.extend_from_slice(&layer.to_le_bytes());
        }
        let checksum = sha256(&out[start..]);
        out.extend_from_slice(&checksum);
    }

    pub(crate) fn parse(bytes: &'a [u8], files: usize) -> Result<Self, FormatError> {
        let short = || FormatError::Value("its provenance is cut short");
        let mut from = Cursor(bytes);
        if from.take(8) != Some(MAGIC) {
            return Err(FormatError::Value("something unknown follows its canonical part"));
        }
        let version = from.u32().ok_or_else(short)?;
        if version != VERSION {
            return Err(FormatError::Version { got: version, reads: VERSION });
        }
        let count = from.u32().and_then(|count| usize::try_from(count).ok()).ok_or_else(short)?;
        let layers = count.checked_mul(LAYER).and_then(|len| from.take(len)).ok_or_else(short)?;
        let files = files.checked_mul(2).and_then(|len| from.take(len)).ok_or_else(short)?;
        let checksum: [u8; 32] = from.array().ok_or_else(short)?;
        if !from.0.is_empty() {
            return Err(FormatError::Value("something follows its provenance"));
        }
        if bytes.get(..bytes.len() - 32).map(sha256) != Some(checksum) {
            return Err(FormatError::Checksum("provenance"));
        }
        Ok(Self { layers, files })
    }

    /// The layers from the bottom up: the diff ID of each, where it is known.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = Option<Digest>> + 'a {
        self.layers
            .chunks_exact(LAYER)
            .map(|row| (row[0] == 1).then(|| Digest::sha256(array(row, 1).unwrap_or_default())))
    }

    /// The index of the layer that the file at that place came from.
    #[must_use]
    pub fn layer_of(&self, file: usize) -> Option<u16> {
        u16_at(self.files, file.checked_mul(2)?)
    }
}
