//! A layer from a tar, as containerd applies it to an overlay.

mod member;
mod tree;

use std::io::Read;

use lacre_types::{CanonicalPath, PathError, escape};
use tar::EntryType;

use member::Member;
pub(crate) use member::{Fault, Members};
pub(crate) use tree::Wanted;
use tree::{Kept, Tree};

use crate::hash::Hasher;
use crate::kind::{Nature, SNIFF};
use crate::layer::Layer;
use crate::{Options, Progress};

pub(crate) enum Scanned {
    Layer(Layer),
    /// Hard links give these a name that makes them code: scan again, and hash them.
    Again(Wanted),
}

/// Reads the tar to its end mark. `wanted` is empty the first time.
pub(crate) fn scan_tar(
    from: impl Read,
    wanted: &Wanted,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Scanned, Fault> {
    let mut members = Members::new(from);
    let mut tree = Tree::default();
    let mut buffer = vec![0; 256 << 10];
    let mut index = 0;
    while let Some(member) = members.next()? {
        progress.found(1);
        let kept = (member.kind.is_file() || member.kind.is_contiguous())
            .then(|| {
                let wanted = wanted.contains(&index);
                content(&mut members, &member, index, wanted, &mut buffer, options, progress)
            })
            .transpose()?;
        put(&mut tree, &member, kept).map_err(|fault| members.fault(fault))?;
        if tree.len() > options.limits.entries {
            let limit = options.limits.entries;
            let fault = format!("it has more than {limit} entries (`limits.entries`)");
            return Err(members.fault(fault));
        }
        index += 1;
        progress.looked(1);
    }
    Ok(match tree.into_nodes() {
        Ok(nodes) => Scanned::Layer(Layer { algorithms: options.algorithms, nodes }),
        Err(wanted) => Scanned::Again(wanted),
    })
}

fn content(
    members: &mut Members<impl Read>,
    member: &Member,
    index: u64,
    wanted: bool,
    buffer: &mut [u8],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Kept, Fault> {
    let mut head = 0;
    while head < SNIFF {
        match members.read(&mut buffer[head..SNIFF])? {
            0 => break,
            len => head += len,
        }
    }
    let nature = Nature::of(&buffer[..head], member.mode);
    let name = member.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let digests = if wanted || nature.kind(name).is_some() {
        let mut hasher = Hasher::new(options.algorithms);
        let mut len = head;
        while len > 0 {
            hasher.update(&buffer[..len]);
            progress.hashed(len as u64);
            len = members.read(buffer)?;
        }
        Some(hasher.finish())
    } else {
        None
    };
    let empty_whiteout = member.size == 0 && member.whiteout;
    Ok(Kept { nature, size: member.size, digests, index, empty_whiteout })
}

/// Path and kind checks are done; what is left is the tree's.
fn put(tree: &mut Tree, member: &Member, kept: Option<Kept>) -> Result<(), String> {
    let path = canonical(&member.path)?;
    let path = if path == b"/" { &[][..] } else { &path };
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if name == b".wh..wh..opq" {
        return tree.opaque(&path[..path.len() - name.len() - 1]);
    }
    if name.starts_with(b".wh..wh.") {
        return Ok(()); // aufs's own bookkeeping
    }
    if let Some(hidden) = name.strip_prefix(b".wh.") {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(format!("the whiteout {} hides no name", escape(path)));
        }
        let parent = &path[..path.len() - name.len()];
        return tree.whiteout(&[parent, hidden].concat());
    }
    match member.kind {
        EntryType::Directory => tree.directory(path, member.opaque),
        EntryType::Symlink => tree.symlink(path, &member.link),
        EntryType::Link => tree.link(path, &canonical(&member.link)?),
        EntryType::Char if member.device == (0, 0) => tree.whiteout(path),
        EntryType::Char | EntryType::Block | EntryType::Fifo => tree.other(path),
        _ => match kept {
            Some(kept) if kept.empty_whiteout => tree.whiteout(path),
            Some(kept) => tree.file(path, kept),
            None => Err(format!("{} is of a type that no image has", escape(path))),
        },
    }
}

/// `..` is taken by name, and stops at the root, as containerd does.
pub(crate) fn canonical(name: &[u8]) -> Result<Vec<u8>, String> {
    let path = [b"/", name].concat();
    match CanonicalPath::new(&path) {
        Ok(path) => Ok(path.as_bytes().to_vec()),
        Err(PathError::TooLong(len)) => {
            let start = escape(&name[..name.len().min(60)]);
            Err(format!("the path {start}… has {len} bytes, more than PATH_MAX (4096)"))
        }
        Err(error) => Err(format!("the name {}: {error}", escape(&name[..name.len().min(60)]))),
    }
}
