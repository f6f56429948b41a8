//! One layer: everything in one lower directory or one layer tar that hides, or can be
//! hidden; and its form in the cache.

use std::collections::BTreeMap;
use std::ops::Bound;

use lacre_types::{FileId, Kind};

use crate::Algorithms;
use crate::bytes::Cursor;
use crate::error::FormatError;
use crate::hash::{Row, sha256};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A file that holds code.
    File(FileNode),
    Symlink(Box<[u8]>),
    Dir {
        /// Hides whatever the layers beneath have in it.
        opaque: bool,
    },
    /// Hides what the layers beneath have under that name.
    Whiteout,
    /// Plain data, a device, a socket: only hides.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileNode {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) digests: Row,
    /// In a directory of this node.
    pub(crate) id: Option<FileId>,
}

/// Absolute paths; `b""` is the root.
pub(crate) type Path = Box<[u8]>;

/// Symbolic links followed for one path, as in the kernel (path_resolution(7)).
pub(crate) const HOPS: u32 = 40;

/// Removes everything in the directory of that path.
pub(crate) fn remove_beneath<V>(from: &mut BTreeMap<Path, V>, path: &[u8]) {
    let first = [path, b"/"].concat();
    // `0` follows `/` in ASCII.
    let end = [path, b"0"].concat();
    let bounds = (Bound::Included(first.as_slice()), Bound::Excluded(end.as_slice()));
    let names: Vec<Path> = from.range::<[u8], _>(bounds).map(|(name, _)| name.clone()).collect();
    for name in names {
        from.remove(&name);
    }
}

/// Sorted by path, so that a directory comes before what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) algorithms: Algorithms,
    pub(crate) nodes: Vec<(Path, Node)>,
    /// Of a tar: the directories that were made for what is in them, and have to be none or
    /// directories in the layers beneath; sorted.
    pub(crate) implied: Vec<Path>,
}

const MAGIC: &[u8; 8] = b"LACRELYR";
const VERSION: u32 = 2;

pub(crate) fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Elf => 1,
        Kind::Library => 2,
        Kind::Script => 3,
        Kind::Bytecode => 4,
        Kind::Executable => 5,
    }
}

pub(crate) fn kind_of(code: u8) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind_code(*kind) == code)
}

pub(crate) fn put_id(out: &mut Vec<u8>, id: &FileId) {
    out.extend_from_slice(&id.dev.to_le_bytes());
    out.extend_from_slice(&id.ctime_nsec.to_le_bytes());
    out.extend_from_slice(&id.ino.to_le_bytes());
    out.extend_from_slice(&id.ctime_sec.to_le_bytes());
}

/// The bytes of a [`FileId`] as [`put_id`] writes it.
pub(crate) const ID_LEN: usize = 24;

pub(crate) fn take_id(from: &mut Cursor<'_>) -> Option<FileId> {
    let dev = from.u32()?;
    let ctime_nsec = from.u32()?;
    Some(FileId { dev, ctime_nsec, ino: from.u64()?, ctime_sec: from.u64()?.cast_signed() })
}

impl Layer {
    /// magic, version, algorithms, number of nodes, SHA-256 of the rest; then the nodes, and
    /// the implied directories to the end.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (path, node) in &self.nodes {
            put_bytes(&mut body, path);
            match node {
                Node::Other => body.push(0),
                Node::File(file) => {
                    body.push(1);
                    body.push(kind_code(file.kind));
                    body.extend_from_slice(&file.size.to_le_bytes());
                    body.extend_from_slice(&file.digests);
                    body.push(u8::from(file.id.is_some()));
                    if let Some(id) = &file.id {
                        put_id(&mut body, id);
                    }
                }
                Node::Symlink(target) => {
                    body.push(2);
                    put_bytes(&mut body, target);
                }
                Node::Dir { opaque } => body.push(3 + u8::from(*opaque)),
                Node::Whiteout => body.push(5),
            }
        }
        for path in &self.implied {
            put_bytes(&mut body, path);
        }
        let mut out = Vec::with_capacity(56 + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.algorithms.bits().to_le_bytes());
        out.extend_from_slice(&(self.nodes.len() as u64).to_le_bytes());
        out.extend_from_slice(&sha256(&body));
        out.extend_from_slice(&body);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut from = Cursor(bytes);
        if from.take(8) != Some(MAGIC) {
            return Err(FormatError::Magic);
        }
        let short = FormatError::Value("it ends within its header");
        let version = from.u32().ok_or_else(|| short.clone())?;
        if version != VERSION {
            return Err(FormatError::Version { got: version, reads: VERSION });
        }
        let bits = from.u32().ok_or_else(|| short.clone())?;
        let count = from.u64().ok_or_else(|| short.clone())?;
        let checksum: [u8; 32] = from.array().ok_or(short)?;
        if sha256(from.0) != checksum {
            return Err(FormatError::Checksum("nodes"));
        }
        let algorithms =
            Algorithms::from_bits(bits).ok_or(FormatError::Value("unknown algorithms"))?;
        let mut nodes: Vec<(Path, Node)> = Vec::new();
        for _ in 0..count {
            let node = take_node(&mut from, algorithms.row_len())
                .ok_or(FormatError::Value("a node is cut short or has no meaning"))?;
            if nodes.last().is_some_and(|(last, _)| *last >= node.0) {
                return Err(FormatError::Value("its nodes are not sorted"));
            }
            nodes.push(node);
        }
        let mut implied: Vec<Path> = Vec::new();
        while !from.0.is_empty() {
            let path = take_bytes(&mut from)
                .ok_or(FormatError::Value("an implied directory is cut short"))?;
            if implied.last().is_some_and(|last| *last >= path) {
                return Err(FormatError::Value("its implied directories are not sorted"));
            }
            implied.push(path);
        }
        Ok(Self { algorithms, nodes, implied })
    }
}

/// Paths and symlink targets have at most 4096 bytes.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes(from: &mut Cursor<'_>) -> Option<Box<[u8]>> {
    let len = from.u16()?;
    Some(from.take(len.into())?.into())
}

fn take_node(from: &mut Cursor<'_>, row_len: usize) -> Option<(Path, Node)> {
    let path = take_bytes(from)?;
    let node = match from.u8()? {
        0 => Node::Other,
        1 => Node::File(FileNode {
            kind: kind_of(from.u8()?)?,
            size: from.u64()?,
            digests: from.take(row_len)?.into(),
            id: match from.u8()? {
                0 => None,
                1 => Some(take_id(from)?),
                _ => return None,
            },
        }),
        2 => Node::Symlink(take_bytes(from)?),
        3 => Node::Dir { opaque: false },
        4 => Node::Dir { opaque: true },
        5 => Node::Whiteout,
        _ => return None,
    };
    Some((path, node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer() -> Layer {
        let id = FileId { dev: 8 << 20, ino: 7, ctime_sec: -1, ctime_nsec: 5 };
        let file =
            |id| Node::File(FileNode { kind: Kind::Elf, size: 3, digests: [7; 32].into(), id });
        let nodes = [
            ("", Node::Dir { opaque: false }),
            ("/a", Node::Dir { opaque: true }),
            ("/a/b", file(Some(id))),
            ("/c", file(None)),
            ("/d", Node::Symlink((*b"a/b").into())),
            ("/e", Node::Whiteout),
            ("/f", Node::Other),
        ];
        let nodes = nodes.map(|(path, node)| (path.as_bytes().into(), node)).into();
        let implied = [&b"/a"[..], b"/a/b"].map(Into::into).into();
        Layer { algorithms: Algorithms::default(), nodes, implied }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        assert_eq!(Layer::decode(&layer().encode()), Ok(layer()));
    }

    proptest! {
        #[test]
        fn a_flipped_byte_is_noticed(at in any::<prop::sample::Index>(), mask in 1u8..) {
            let mut bytes = layer().encode();
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
            // The number of nodes and the algorithms are not under the checksum; they can
            // only make the nodes unreadable.
            prop_assert!(Layer::decode(&bytes).is_err());
        }

        #[test]
        fn a_cut_file_is_noticed(at in any::<prop::sample::Index>()) {
            let bytes = layer().encode();
            prop_assert!(Layer::decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
