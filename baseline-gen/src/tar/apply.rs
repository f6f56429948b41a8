//! Each member applied as containerd's `archive.Apply` does it on Linux.

use std::collections::HashSet;

use lacre_types::escape;

use super::header::Kind;
use super::member::Member;
use super::paths::{canonical, check_name, split};
use super::tree::{Inode, Kept, Tree, What};

/// What becomes of a whiteout. containerd unpacks the lowest layer into a bind mount, and the
/// others beside what they hide, for overlayfs; for other snapshotters each into a mount of all
/// that is beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whiteouts {
    /// It removes what is there: of the lowest layer, what came before it in the same tar.
    Remove,
    /// It becomes overlayfs's own.
    Mark,
}

impl Whiteouts {
    /// Of the layer at that place, from the bottom.
    pub(crate) const fn at(index: usize) -> Self {
        if index == 0 { Self::Remove } else { Self::Mark }
    }
}

/// The members so far.
pub(super) struct Applied {
    tree: Tree,
    whiteouts: Whiteouts,
    /// How much the layers beneath had left.
    beneath: usize,
    /// The paths of members, which an opaque directory keeps where it removes.
    unpacked: HashSet<Vec<u8>>,
    /// Directories as named: their times are set last, and they have to be there still.
    directories: HashSet<Vec<u8>>,
}

impl Applied {
    pub(super) fn over(mut tree: Tree, whiteouts: Whiteouts) -> Self {
        tree.begin();
        let [unpacked, directories] = [(); 2].map(|()| HashSet::new());
        let beneath = tree.len();
        Self { tree, whiteouts, beneath, unpacked, directories }
    }

    /// What this layer takes of memory.
    pub(super) fn len(&self) -> usize {
        self.tree
            .len()
            .saturating_sub(self.beneath)
            .max(self.unpacked.len())
            .max(self.directories.len())
    }

    /// Where the member goes, once its parents and what it hides are seen to; `None` where
    /// nothing is to be made of it.
    pub(super) fn place(&mut self, member: &Member) -> Result<Option<Vec<u8>>, String> {
        let written = canonical(&member.path)?;
        if written == b"/" {
            return Ok(None);
        }
        let (parent, name) = split(&written);
        let dir = self.tree.parent(parent)?;
        if name == b".wh..wh..opq" {
            self.opaque(&dir)?;
            return Ok(None);
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(format!("the whiteout {} hides no name", escape(&written)));
            }
            let hidden = [&dir[..], b"/", hidden].concat();
            match self.whiteouts {
                Whiteouts::Remove => {
                    check_name(split(&hidden).1)?;
                    self.tree.remove_all(&hidden);
                }
                Whiteouts::Mark => own(self.tree.make(&hidden, What::Whiteout, 0)?, member),
            }
            return Ok(None);
        }
        let path = [&dir[..], b"/", name].concat();
        let stays = member.kind == Kind::Directory
            && self.tree.inode(&path).is_some_and(|inode| matches!(inode.what, What::Directory));
        if !stays {
            self.tree.remove_all(&path);
        }
        Ok(Some(path))
    }

    fn opaque(&mut self, dir: &[u8]) -> Result<(), String> {
        match self.whiteouts {
            Whiteouts::Mark => {
                if let Some(inode) = self.tree.inode(dir) {
                    inode.opaque.set(true);
                }
            }
            Whiteouts::Remove => self.tree.remove_beneath_but(dir, &self.unpacked)?,
        }
        Ok(())
    }

    /// Makes what the member is.
    pub(super) fn put(
        &mut self,
        path: &[u8],
        member: &Member,
        kept: Option<Kept>,
    ) -> Result<(), String> {
        if self.whiteouts == Whiteouts::Remove {
            self.unpacked.insert(path.to_vec());
        }
        let what = match (member.kind, kept) {
            (Kind::Global, _) => return Ok(()),
            (Kind::Directory, _) => {
                self.directories.insert(canonical(&member.path)?);
                What::Directory
            }
            (Kind::Symlink, _) => {
                let len = member.link.len();
                if !(1..4096).contains(&len) {
                    return Err(format!("the symbolic link {} has {len} bytes", escape(path)));
                }
                What::Symlink(member.link.as_slice().into())
            }
            (Kind::Char, _) if member.device == (0, 0) => What::Whiteout,
            (Kind::Char | Kind::Block | Kind::Fifo, _) => What::Special,
            (Kind::File, Some(kept)) => What::File(kept),
            (Kind::Link, _) => {
                let inode = self.tree.link(path, &member.link)?;
                return set(inode, member);
            }
            (Kind::File | Kind::Unknown(_), _) => {
                return Err(format!("{} is of a type that no image has", escape(path)));
            }
        };
        match self.tree.inode(path) {
            Some(inode) => set(inode, member),
            None => set(self.tree.make(path, what, 0o777)?, member),
        }
    }

    /// The tree, once the times of its directories could be set.
    pub(super) fn finish(self) -> Result<Tree, String> {
        for name in &self.directories {
            let path = self.tree.root_path(name)?;
            if self.tree.inode(&path).is_none() {
                return Err(format!("the directory {} did not last", escape(name)));
            }
        }
        Ok(self.tree)
    }
}

fn own(inode: &Inode, member: &Member) {
    let keep = |new: u32, old: u32| if new == u32::MAX { old } else { new };
    let (uid, gid) = inode.owner.get();
    inode.owner.set((keep(member.owner.0, uid), keep(member.owner.1, gid)));
}

/// Owner, attributes and mode, which hard links have in common.
fn set(inode: &Inode, member: &Member) -> Result<(), String> {
    own(inode, member);
    // One that was implied keeps what the layers beneath gave it, where the member says nothing.
    let told = member.owner.0 != u32::MAX && member.owner.1 != u32::MAX;
    inode.implied.set(inode.implied.get() && !told);
    if let Some(attribute) = &member.bad_attribute {
        return Err(format!("{}: {attribute}", escape(&member.path)));
    }
    if !matches!(inode.what, What::Symlink(_)) {
        inode.mode.set(member.mode);
    }
    Ok(())
}
