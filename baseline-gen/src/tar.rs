//! A layer from a tar, as containerd applies it.

mod apply;
mod header;
mod implied;
mod member;
mod paths;
mod pax;
mod sparse;
mod tree;
mod wanted;

use std::io::Read;

use apply::Applied;
pub(crate) use apply::Whiteouts;
pub(crate) use header::Kind;
pub(crate) use implied::check_implied;
use member::Member;
pub(crate) use member::{Fault, Members};
pub(crate) use paths::canonical;
use tree::Kept;
pub(crate) use tree::Tree;
pub use tree::listing::{Listed, Listing};
use wanted::MemberId;
pub(crate) use wanted::Wanted;

use crate::hash::Hasher;
use crate::kind::{Nature, SNIFF};
use crate::layer::Layer;
use crate::{Options, Progress};

pub(crate) enum Scanned {
    Layer(Layer),
    /// Hard links give these a name or a mode that makes them code: scan again, and hash them.
    Again(Wanted),
}

/// Reads the tar to its end mark.
pub(crate) fn scan_tar(
    from: impl Read,
    whiteouts: Whiteouts,
    wanted: &Wanted,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Scanned, Fault> {
    let tree = unpack(from, (Tree::default(), whiteouts, 0), wanted, options, progress)?;
    Ok(match tree.into_layer(options.algorithms) {
        Ok(layer) => Scanned::Layer(layer),
        Err(wanted) => Scanned::Again(Wanted::Also(wanted)),
    })
}

/// What unpacking the tar over a tree leaves: that of the layers before it, or an empty one, by
/// the layer's number from the bottom.
pub(crate) fn unpack(
    from: impl Read,
    (tree, whiteouts, layer): (Tree, Whiteouts, u16),
    wanted: &Wanted,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Tree, Fault> {
    let mut members = Members::new(from);
    let mut applied = Applied::over(tree, whiteouts);
    let mut contents = Contents { buffer: vec![0; 256 << 10], wanted, options, progress, holes: 0 };
    let mut id = MemberId { layer, index: 0 };
    while let Some(member) = members.next()? {
        progress.found(1);
        if let Some(place) = applied.place(&member).map_err(|fault| members.fault(fault))? {
            let kept = (member.kind == Kind::File)
                .then(|| contents.read(&mut members, &member, id))
                .transpose()?;
            applied.put(&place, &member, kept).map_err(|fault| members.fault(fault))?;
        }
        if applied.len() > options.limits.entries {
            let limit = options.limits.entries;
            let fault = format!("it has more than {limit} entries (--max-entries)");
            return Err(members.fault(fault));
        }
        id.index += 1;
        progress.looked(1);
    }
    applied.finish().map_err(|fault| members.fault(fault))
}

/// Reads the content of files, and hashes what is code.
struct Contents<'a> {
    buffer: Vec<u8>,
    wanted: &'a Wanted,
    options: &'a Options,
    progress: &'a dyn Progress,
    /// Bytes of sparse files so far: a tar of a kilobyte may have them by the exabyte.
    holes: u64,
}

impl Contents<'_> {
    fn read(
        &mut self,
        members: &mut Members<impl Read>,
        member: &Member,
        id: MemberId,
    ) -> Result<Kept, Fault> {
        members.check_content()?;
        let mut head = 0;
        while head < SNIFF {
            match members.read(&mut self.buffer[head..SNIFF])? {
                0 => break,
                len => head += len,
            }
        }
        let nature = Nature::of(&self.buffer[..head], member.mode);
        let name = member.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let hashed = self.wanted.contains(id) || nature.kind(name).is_some();
        let digests = if hashed { Some(self.hash(members, member, head)?) } else { None };
        Ok(Kept { nature, size: member.size, digests, id })
    }

    fn hash(
        &mut self,
        members: &mut Members<impl Read>,
        member: &Member,
        head: usize,
    ) -> Result<crate::hash::Row, Fault> {
        if member.sparse {
            self.holes = self.holes.saturating_add(member.size);
            let limit = self.options.limits.layer_bytes;
            if self.holes > limit {
                let fault =
                    format!("its sparse files are of more than {limit} bytes (--max-layer-bytes)");
                return Err(members.fault(fault));
            }
        }
        let mut hasher = Hasher::new(self.options.algorithms);
        let mut len = head;
        while len > 0 {
            hasher.update(&self.buffer[..len]);
            self.progress.hashed(len as u64);
            len = members.read(&mut self.buffer)?;
        }
        Ok(hasher.finish())
    }
}
