//! The entry of each parser of outside bytes, for a fuzzer. None may panic, none may take
//! memory out of proportion to its input, and what is taken must keep its promises.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Cursor, Read};
use std::sync::Arc;

use lacre_types::{CanonicalPath, Digest, FileId, Kind, Known as _};

use crate::baseline::Bytes;

use crate::hash::sha256;
use crate::kind::{Nature, SNIFF};
use crate::layer::{FileNode, ID_LEN, Layer, Node, take_id};
use crate::merge::Merged;
use crate::oci::{LayerBlob, Packing};
use crate::tar::{Scanned, Wanted, Whiteouts, scan_tar};
use crate::{
    Algorithms, Baseline, Lookup, NoProgress, NodeIndex, Options, build, bytes, node_index,
};

pub use crate::oci::fuzz_documents;

/// A baseline file, and the same bytes under a header and checksums that are right.
pub fn fuzz_baseline(data: &[u8]) {
    baseline(data.to_vec());
    if let Some(mended) = mended_baseline(data) {
        baseline(mended);
    }
}

fn baseline(bytes: Vec<u8>) {
    let Ok(baseline) = Baseline::from_bytes(bytes) else { return };
    let sound = baseline.verify().is_ok();
    let files: BTreeMap<&[u8], usize> =
        baseline.files().enumerate().filter_map(|(at, file)| Some((file?.path, at))).collect();
    let links: BTreeMap<&[u8], &[u8]> =
        baseline.links().flatten().map(|link| (link.path, link.target)).collect();
    let ask = |path: &[u8]| {
        let Ok(path) = CanonicalPath::new(path) else { return };
        let found = baseline.entry(&path);
        // What is not sorted is searched in vain, and may only be missed.
        if sound {
            let expected = followed(&files, &links, &path).and_then(|at| baseline.get(at));
            assert_eq!(found, expected.map_or(Lookup::Missing, Lookup::Found), "{path}");
        } else if let Lookup::Found(entry) = found {
            assert!(files.contains_key(entry.path), "{path}");
        }
    };
    ask(b"/bin/../bin/sh");
    for path in files.keys().chain(links.keys()).take(32) {
        ask(path);
        ask(&[path, &b"/sh"[..]].concat());
    }
    if sound {
        assert_eq!(files.len(), baseline.len());
        assert_eq!(links.len(), baseline.links().len());
        let canonical = |path: &[u8]| CanonicalPath::new(path).is_ok_and(|c| c.as_bytes() == path);
        assert!(files.keys().chain(links.keys()).all(|path| canonical(path)));
    }
}

/// What [`Baseline::entry`] finds, by the book.
fn followed(
    files: &BTreeMap<&[u8], usize>,
    links: &BTreeMap<&[u8], &[u8]>,
    path: &CanonicalPath,
) -> Option<usize> {
    if let Some(at) = files.get(path.as_bytes()) {
        return Some(*at);
    }
    let mut todo: VecDeque<&[u8]> = path.parts().collect();
    let (mut parts, mut hops) = (Vec::new(), 0);
    let joined =
        |parts: &[&[u8]]| -> Vec<u8> { parts.iter().flat_map(|p| [b"/", *p].concat()).collect() };
    while let Some(part) = todo.pop_front() {
        match part {
            b"" | b"." => continue,
            b".." => {
                parts.pop();
                continue;
            }
            part => parts.push(part),
        }
        let here = joined(&parts);
        if here.len() > CanonicalPath::MAX {
            return None;
        }
        if let Some(target) = links.get(&here[..]) {
            hops += 1;
            if hops > 40 {
                return None;
            }
            parts.pop();
            if target.starts_with(b"/") {
                parts.clear();
            }
            for part in target.split(|byte| *byte == b'/').rev() {
                todo.push_front(part);
            }
        }
    }
    files.get(&joined(&parts)[..]).copied().filter(|_| hops > 0)
}

/// The counts of a header, as far as the body holds them.
fn mended_baseline(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.get(..data.len() / 8 * 8)?.to_vec();
    let (header, body) = bytes.split_first_chunk_mut::<{ build::HEADER }>()?;
    let algorithms = Algorithms::from_bits(u32::from(header[12] & 15 | 2))?;
    let file = build::FILE + algorithms.row_len();
    let files = usize::from(header[16]) % (body.len() / file + 1);
    let rest = body.len() - files * file;
    let links = usize::from(header[20]) % (rest / build::LINK + 1);
    let names = rest - links * build::LINK;
    header[..8].copy_from_slice(build::MAGIC);
    header[8..12].copy_from_slice(&build::VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&algorithms.bits().to_le_bytes());
    header[16..20].copy_from_slice(&u32::try_from(files).ok()?.to_le_bytes());
    header[20..24].copy_from_slice(&u32::try_from(links).ok()?.to_le_bytes());
    header[24..32].copy_from_slice(&(names as u64).to_le_bytes());
    header[32..40].copy_from_slice(&((build::HEADER + body.len()) as u64).to_le_bytes());
    header[40..72].copy_from_slice(&sha256(body));
    let checksum = sha256(&header[..build::SUMMED]);
    header[build::SUMMED..].copy_from_slice(&checksum);
    Some(bytes)
}

/// A baseline of three files, and its index.
pub(crate) fn small_index() -> (Arc<Baseline>, Vec<u8>) {
    let file = |ino, kind| FileNode {
        kind,
        size: ino,
        digests: [7; 32].into(),
        id: Some(FileId { dev: 8 << 20, ino, ctime_sec: 1, ctime_nsec: 2 }),
    };
    let nodes = [("/a", 9, Kind::Elf), ("/b", 7, Kind::Library), ("/c", 8, Kind::Script)];
    let files = nodes.map(|(path, ino, kind)| (path.as_bytes().into(), file(ino, kind), 0));
    let merged = Merged { files: files.into(), links: Vec::new() };
    let baseline = Baseline::from_merged(Algorithms::default(), &merged, &[]);
    let baseline = Arc::new(baseline.unwrap_or_else(|_| unreachable!("three files fit")));
    let bytes = node_index::encode(&baseline, &merged).unwrap_or_default();
    (baseline, bytes)
}

/// A node index, and any rows under a header that is right: what is not in a row is not
/// known, let alone allowed.
pub fn fuzz_node_index(data: &[u8]) {
    let (baseline, whole) = small_index();
    let open = |bytes| {
        NodeIndex::parse(Bytes::Owned(bytes), Arc::clone(&baseline), Arc::clone(&baseline)).ok()
    };
    if let Some(index) = open(data.to_vec()) {
        assert_eq!(index.allowed().count(), 2);
    }
    let mut rows = data.to_vec();
    rows.resize(whole.len() - node_index::HEADER, 0);
    let header = node_index::header(&baseline, 3, &rows);
    let Some(index) = open([&header[..], &rows].concat()) else { unreachable!("it is mended") };
    let ids: Vec<FileId> =
        (0..3).filter_map(|row| take_id(&mut bytes::Cursor(rows.get(row * ID_LEN..)?))).collect();
    assert!(index.allowed().eq(ids[..2].iter().copied()), "no script, and no other inode");
    for id in &ids {
        if let Some((path, known)) = index.by_inode(id.dev, id.ino) {
            assert_eq!((known.id.dev, known.id.ino), (id.dev, id.ino));
            assert_eq!(index.by_path(&path), Some(known));
        }
    }
}

/// A layer in the cache, and the same nodes under a checksum that is right.
pub fn fuzz_layer_cache(data: &[u8]) {
    if let Ok(layer) = Layer::decode(data) {
        assert_eq!(Layer::decode(&layer.encode()), Ok(layer));
    }
    if let Some(mended) = mended_layer(data)
        && let Ok(layer) = Layer::decode(&mended)
    {
        assert!(layer.nodes.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(layer.encode(), mended);
    }
}

/// The algorithms, the number of nodes, and the nodes.
fn mended_layer(data: &[u8]) -> Option<Vec<u8>> {
    let [bits, count, body @ ..] = data else { return None };
    let algorithms = Algorithms::from_bits(u32::from(bits & 15 | 2))?;
    let mut bytes = Layer { algorithms, nodes: Vec::new(), implied: Vec::new() }.encode();
    bytes[16] = *count;
    bytes[24..56].copy_from_slice(&sha256(body));
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// The tar of a layer, and the same with the checksums of its headers put right.
pub fn fuzz_layer_tar(data: &[u8]) {
    tar(data);
    let mut mended = data.to_vec();
    for header in mended.chunks_exact_mut(512) {
        // A block of content may be one by chance, and is then content with other bytes.
        if &header[257..262] == b"ustar" {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    if mended != data {
        tar(&mended);
    }
}

fn tar(data: &[u8]) {
    for whiteouts in [Whiteouts::Remove, Whiteouts::Mark] {
        if let Some(layer) = scanned(data, whiteouts) {
            sound(&layer);
        }
    }
}

fn sound(layer: &Layer) {
    assert!(layer.nodes.is_sorted_by(|(a, _), (b, _)| a < b));
    let directories: Vec<&[u8]> = (layer.nodes.iter())
        .filter(|(_, node)| matches!(node, Node::Dir { .. }))
        .map(|(path, _)| &path[..])
        .collect();
    for (path, node) in &layer.nodes {
        if !path.is_empty() {
            assert!(
                CanonicalPath::new(path).is_ok_and(|canonical| canonical.as_bytes() == &**path)
            );
            let parent = path.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
            assert!(directories.binary_search(&parent).is_ok(), "{parent:?} is missing");
        }
        if let Node::File(file) = node {
            assert_eq!(file.digests.len(), layer.algorithms.row_len());
        }
    }
    assert_eq!(Layer::decode(&layer.encode()).as_ref(), Ok(layer));
}

fn scanned(tar: &[u8], whiteouts: Whiteouts) -> Option<Layer> {
    let scan =
        |wanted: &Wanted| scan_tar(tar, whiteouts, wanted, &Options::default(), &NoProgress).ok();
    match scan(&Wanted::default())? {
        Scanned::Layer(layer) => Some(layer),
        Scanned::Again(wanted) => match scan(&wanted) {
            Some(Scanned::Layer(layer)) => Some(layer),
            _ => unreachable!("the second pass hashes what the first asked for"),
        },
    }
}

/// A layer's blob, packed in whatever way, under limits that a fuzzer reaches.
pub fn fuzz_layer_blob(data: &[u8]) {
    let mut options = Options::default();
    options.limits.layer_bytes = 1 << 20;
    let digest = Digest::sha256(sha256(data));
    let owned = data.to_vec();
    let open = move || Ok(Box::new(Cursor::new(owned.clone())) as Box<dyn Read>);
    let known = (digest, data.len() as u64);
    let whiteouts = Whiteouts::Mark;
    let blob = LayerBlob {
        what: "fuzz",
        open: &open,
        blob: Some(&known),
        diff_id: &digest,
        packing: Packing::ByFirstBytes,
        whiteouts,
    };
    // The digest is the blob's: a diff ID that it fits is that of a tar that is not packed.
    if let Ok(layer) = blob.scan(&options, &NoProgress) {
        assert_eq!(Some(layer), scanned(data, whiteouts));
    }
}

/// Execute bits, name and beginning of a file: a byte, a byte and that many, the rest.
pub fn fuzz_kind(data: &[u8]) {
    let [executable, len, rest @ ..] = data else { return };
    let (name, head) = rest.split_at(usize::from(*len).min(rest.len()));
    let mode = if executable & 1 == 1 { 0o755 } else { 0o644 };
    let kind = Nature::of(head, mode).kind(name);
    let elf = head.starts_with(b"\x7fELF");
    assert_eq!(elf, matches!(kind, Some(Kind::Elf | Kind::Library)));
    assert!(kind.is_some() || mode == 0o644, "what can be executed is of some kind");
    assert!(!head.starts_with(b"#!") || kind == Some(Kind::Script));
    assert_eq!(Nature::of(&head[..head.len().min(SNIFF)], mode).kind(name), kind);
}
