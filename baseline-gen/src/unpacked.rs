//! A layer as unpacking leaves it, for who compares that with containerd's own.

use std::io::{Cursor, Read};

use lacre_types::Digest;

use crate::error::{BlobError, Error};
use crate::merge::merge;
use crate::oci::{LayerBlob, Packing, replay};
use crate::tar::{Tree, Wanted, Whiteouts, check_implied};
use crate::{Baseline, NoProgress, Options};

pub use crate::tar::{Listed, Listing};

/// A layer's blob and its media type, and the digest of its tar.
pub type Unpacked<'a> = (&'a [u8], &'a str, Digest);

/// The digest of the layer's tar.
///
/// # Errors
/// When the blob can't be inflated.
pub fn diff_id(blob: &[u8], media_type: &str) -> Result<Digest, Error> {
    let (options, none) = (Options::default(), Digest::sha256([0; 32]));
    with_blob(&(blob, media_type, none), Whiteouts::Remove, |blob| blob.told_diff_id(&options))
}

/// What the layer at that place (0 is the lowest) holds for overlayfs, by path.
///
/// # Errors
/// When it is none that containerd unpacks.
pub fn list(layer: &Unpacked<'_>, at: usize) -> Result<Vec<Listed>, Error> {
    with_blob(layer, Whiteouts::at(at), |blob| blob.list(&Options::default(), &NoProgress))
}

/// The baseline of these layers, from the bottom up, each in a directory of its own.
///
/// # Errors
/// When containerd would not unpack them.
pub fn stack(layers: &[Unpacked<'_>]) -> Result<Baseline, Error> {
    let options = Options::default();
    let scan =
        |(at, layer)| with_blob(layer, Whiteouts::at(at), |blob| blob.scan(&options, &NoProgress));
    let scanned: Vec<_> = layers.iter().enumerate().map(scan).collect::<Result<_, _>>()?;
    check_implied(&scanned).map_err(|(_, why)| unusable(why))?;
    Baseline::from_merged(options.algorithms, &merge(scanned), &vec![None; layers.len()])
}

/// What these layers, from the bottom up, leave where each is unpacked over those before it, by
/// path; and the baseline of that.
///
/// # Errors
/// When containerd would not unpack them.
pub fn pile(layers: &[Unpacked<'_>]) -> Result<(Vec<Listed>, Baseline), Error> {
    let options = Options::default();
    let unpack = |layer: &Unpacked<'_>, over, wanted: &Wanted| {
        with_blob(layer, Whiteouts::Remove, |blob| {
            blob.unpack_over(over, wanted, &options, &NoProgress)
        })
    };
    let mut tree = Tree::default();
    for (at, layer) in layers.iter().enumerate() {
        tree = unpack(layer, (tree, at), &Wanted::All)?;
    }
    let merged = replay(layers, unpack)?;
    let baseline = Baseline::from_merged(options.algorithms, &merged, &vec![None; layers.len()])?;
    Ok((tree.list(), baseline))
}

fn with_blob<T>(
    (bytes, media_type, diff_id): &Unpacked<'_>,
    whiteouts: Whiteouts,
    read: impl FnOnce(&LayerBlob<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    read(&LayerBlob {
        what: "the layer",
        open: &|| Ok(Box::new(Cursor::new(bytes.to_vec())) as Box<dyn Read>),
        blob: None,
        diff_id,
        packing: Packing::of(media_type).map_err(unusable)?,
        whiteouts,
    })
}

fn unusable(why: String) -> Error {
    Error::blob("the layer", BlobError::Unusable(why))
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
