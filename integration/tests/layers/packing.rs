//! A tar packed as a blob: none, gzip and zstd in one part and in several, with what may stand
//! between and after them.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use crate::random::Random;

const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// A layer's blob.
pub(crate) struct Blob {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: String,
}

pub(crate) fn pack(tar: &[u8], random: &mut Random) -> Blob {
    let (mut bytes, own) = match random.weighted(&[6, 3, 3]) {
        0 => (tar.to_vec(), ""),
        1 => (gzip(tar, random), "+gzip"),
        _ => (zstd_frames(tar, random), "+zstd"),
    };
    if !own.is_empty() && random.once_in(12) {
        match random.below(4) {
            0 => bytes.extend_from_slice(b"garbage"),
            1 => bytes.extend_from_slice(&vec![0; 1 + random.below(600)]),
            2 => bytes.truncate(bytes.len() - random.below(bytes.len() / 2 + 1)),
            _ => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
        }
    }
    let media_type = match random.weighted(&[12, 4, 2, 1]) {
        0 => format!("{OCI}{own}"),
        1 => DOCKER.to_owned(),
        2 => format!("{DOCKER}.gzip"),
        _ => format!("{OCI}{}", random.of(&["", "+gzip", "+zstd", "+x", ".gzip"])),
    };
    Blob { bytes, media_type }
}

/// One to three parts; some may be of no bytes.
fn parts<'a>(tar: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut parts = vec![tar];
    while random.once_in(3) && parts.len() < 3 {
        let last = parts.pop().unwrap_or_default();
        let (first, rest) = last.split_at(random.below(last.len() + 1));
        parts.extend([first, rest]);
    }
    parts
}

fn gzip(tar: &[u8], random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts(tar, random) {
        let mut header = GzBuilder::new();
        if random.once_in(4) {
            header = header.filename("layer.tar");
        }
        if random.once_in(6) {
            header = header.comment("a comment").extra(vec![1, 2, 0, 0]);
        }
        let mut gzip = header.write(Vec::new(), Compression::new(6));
        let done = gzip.write_all(part).and_then(|()| gzip.finish());
        all.extend(done.unwrap_or_default());
    }
    all
}

fn zstd_frames(tar: &[u8], random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    skippable(&mut all, random);
    for part in parts(tar, random) {
        let frame = zstd::encode_all(part, 1).unwrap_or_default();
        all.extend(frame);
        skippable(&mut all, random);
    }
    all
}

fn skippable(all: &mut Vec<u8>, random: &mut Random) {
    if random.once_in(6) {
        let len = random.below(40);
        all.push(0x50 + u8::try_from(random.below(16)).unwrap_or_default());
        all.extend_from_slice(&[0x2a, 0x4d, 0x18]);
        all.extend_from_slice(&u32::try_from(len).unwrap_or_default().to_le_bytes());
        all.extend_from_slice(&vec![b's'; len]);
    }
}
