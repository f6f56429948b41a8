//! A layer as unpacking leaves it, for who compares that with containerd's own.

use std::io::{Cursor, Read};

use lacre_types::Digest;

use crate::error::{BlobError, Error};
use crate::merge::merge;
use crate::oci::{LayerBlob, Packing};
use crate::tar::{Whiteouts, check_implied};
use crate::{Baseline, NoProgress, Options};

pub use crate::tar::{Listed, Listing};

/// What the layer at that place (0 is the lowest) holds, by path, and its diff ID.
///
/// # Errors
/// When it is none that containerd unpacks.
pub fn list(blob: &[u8], media_type: &str, at: usize) -> Result<(Digest, Vec<Listed>), Error> {
    let unusable = |why| Error::blob("the layer", BlobError::Unusable(why));
    let packing = Packing::of(media_type).map_err(unusable)?;
    let open = || Ok(Box::new(Cursor::new(blob.to_vec())) as Box<dyn Read>);
    let list = |diff_id: &Digest| {
        let blob = LayerBlob {
            what: "the layer",
            open: &open,
            blob: None,
            diff_id,
            packing,
            whiteouts: Whiteouts::at(at),
        };
        blob.list(&Options::default(), &NoProgress)
    };
    // What it is, is told by what it is not.
    let none = Digest::sha256([0; 32]);
    match list(&none) {
        Err(Error::Blob { what, source }) => match *source {
            BlobError::DiffId { got, .. } => Ok((got, list(&got)?)),
            source => Err(Error::blob(what, source)),
        },
        Err(error) => Err(error),
        Ok(list) => Ok((none, list)),
    }
}

/// The baseline of these layers, from the bottom up: their blobs, media types and diff IDs.
///
/// # Errors
/// When containerd would not unpack them.
pub fn stack(layers: &[(&[u8], &str, Digest)]) -> Result<Baseline, Error> {
    let options = Options::default();
    let unusable = |why| Error::blob("a layer", BlobError::Unusable(why));
    let mut scanned = Vec::new();
    for (at, (bytes, media_type, diff_id)) in layers.iter().enumerate() {
        let open = || Ok(Box::new(Cursor::new(bytes.to_vec())) as Box<dyn Read>);
        let blob = LayerBlob {
            what: "a layer",
            open: &open,
            blob: None,
            diff_id,
            packing: Packing::of(media_type).map_err(unusable)?,
            whiteouts: Whiteouts::at(at),
        };
        scanned.push(blob.scan(&options, &NoProgress)?);
    }
    check_implied(&scanned).map_err(|(_, why)| unusable(why))?;
    let diff_ids = vec![None; layers.len()];
    Baseline::from_merged(options.algorithms, &merge(scanned), &diff_ids)
}

/// What one has and the other has not, in lines; none where they are alike. `theirs` are
/// lines as [`Listed`] writes them, with all modes and owners.
#[must_use]
pub fn differences(ours: &[Listed], theirs: &[String]) -> Vec<String> {
    let known: Vec<String> = ours.iter().map(ToString::to_string).collect();
    let alike = |own: &String, other: &String| match own.strip_suffix(" any") {
        Some(own) => {
            let mut words = other.rsplitn(3, ' ');
            words.nth(2) == Some(own)
        }
        None => own == other,
    };
    let lacks = |line: &&String| !theirs.iter().any(|other| alike(line, other));
    let more = |line: &&String| !known.iter().any(|own| alike(own, line));
    let ours = known.iter().filter(lacks).map(|line| format!("ours: {line}"));
    ours.chain(theirs.iter().filter(more).map(|line| format!("containerd's: {line}"))).collect()
}
