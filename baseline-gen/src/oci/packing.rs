//! How a layer's blob is packed: by its media type and its first bytes, as for containerd.

use std::io::{self, BufReader, Read};

use lacre_types::escape;

/// Inflaters read this much at once.
const BUFFER: usize = 128 << 10;

/// The most that a zstd frame may ask for as its window, as a power of 2 (128 MiB).
const ZSTD_WINDOW: u32 = 27;

const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Packing {
    /// The media type says that it is not packed, and is believed.
    Plain,
    /// The first bytes: gzip, zstd, or a tar.
    ByFirstBytes,
}

impl Packing {
    /// By a layer's media type, or that containerd unpacks none such.
    pub(crate) fn of(media_type: &str) -> Result<Self, String> {
        let (base, suffixes) = match media_type.split_once('+') {
            Some((base, suffixes)) => (base, Some(suffixes)),
            None => (media_type, None),
        };
        // containerd takes the last of them by the alphabet.
        let last = suffixes.and_then(|suffixes| suffixes.split('+').max());
        Ok(match (base.strip_suffix(".gzip").or(base.strip_suffix(".zstd")), base, last) {
            (None, OCI | OCI_FOREIGN, Some("gzip" | "zstd")) => Self::ByFirstBytes,
            (None, OCI | OCI_FOREIGN, _) => Self::Plain,
            (None | Some(DOCKER | DOCKER_FOREIGN), DOCKER | DOCKER_FOREIGN, None)
            | (Some(DOCKER | DOCKER_FOREIGN), _, None) => Self::ByFirstBytes,
            (None | Some(DOCKER | DOCKER_FOREIGN), DOCKER | DOCKER_FOREIGN, Some(_))
            | (Some(DOCKER | DOCKER_FOREIGN), _, Some(_)) => Self::Plain,
            _ => {
                let shown = escape(media_type.as_bytes());
                return Err(format!("its media type `{shown}` is of no layer that is unpacked"));
            }
        })
    }

    /// The tar within; and what a blob that is not unpacked looks like.
    pub(super) fn open<'a>(
        self,
        from: impl Read + 'a,
    ) -> io::Result<(Box<dyn Read + 'a>, Option<&'static str>)> {
        let mut from = BufReader::with_capacity(BUFFER, from);
        let head = first_bytes(&mut from)?;
        let looks = match head.as_slice() {
            [0x1f, 0x8b, 8, ..] => Some("gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, _, _, _, _, ..] => Some("zstd"),
            [b'B', b'Z', b'h', ..] => Some("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
            _ => None,
        };
        let from = io::Cursor::new(head).chain(from);
        Ok(match (self, looks) {
            (Self::ByFirstBytes, Some("gzip")) => {
                let from = BufReader::with_capacity(BUFFER, from);
                (Box::new(flate2::bufread::MultiGzDecoder::new(from)), None)
            }
            (Self::ByFirstBytes, Some("zstd")) => {
                let mut zstd = zstd::stream::read::Decoder::new(from)?;
                zstd.window_log_max(ZSTD_WINDOW)?;
                (Box::new(zstd), None)
            }
            (_, looks) => (Box::new(from), looks),
        })
    }
}

/// As many as it takes to tell, or all.
fn first_bytes(from: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < 10 {
        let some = from.fill_buf()?;
        if some.is_empty() {
            break;
        }
        let len = some.len().min(10 - head.len());
        head.extend_from_slice(&some[..len]);
        from.consume(len);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_those_of_containerd() {
        for (media_type, packing) in [
            (OCI, Some(Packing::Plain)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Packing::ByFirstBytes)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Some(Packing::ByFirstBytes)),
            ("application/vnd.oci.image.layer.v1.tar+xz", Some(Packing::Plain)),
            ("application/vnd.oci.image.layer.v1.tar+encrypted+gzip", Some(Packing::ByFirstBytes)),
            (DOCKER, Some(Packing::ByFirstBytes)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Packing::ByFirstBytes)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip+x", Some(Packing::Plain)),
            ("application/vnd.oci.image.layer.v1.tar.gzip", None),
            ("application/vnd.erofs.layer.v1", None),
            ("", None),
        ] {
            assert_eq!(Packing::of(media_type).ok(), packing, "{media_type}");
        }
    }
}
