//! What a layer's tar makes of an empty directory, or of what others made of it: the operations on files of containerd's
//! unpacking, each refused where the kernel would refuse it.

pub(super) mod listing;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::rc::Rc;

use lacre_types::{CanonicalPath, escape};

use super::paths::{Found, Names, check_name, parts, root_path, split};
use super::wanted::MemberId;
use crate::Algorithms;
use crate::hash::Row;
use crate::kind::Nature;
use crate::layer::{FileNode, Layer, Node, Path, remove_beneath};
use crate::merge::Merged;

/// The most look-ups for one tar, minutes of work: a million links in a row, or a million times
/// the same opaque directory, would take hours.
const WALKS: u64 = 200_000_000;

/// A regular file as the tar has it. Its kind hangs on its name and mode too, and a hard link
/// may give it others.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) nature: Nature,
    pub(super) size: u64,
    pub(super) digests: Option<Row>,
    pub(super) id: MemberId,
}

#[derive(Debug)]
pub(super) enum What {
    File(Kept),
    Directory,
    Symlink(Box<[u8]>),
    /// A character device 0:0.
    Whiteout,
    /// Another device, or a FIFO.
    Special,
}

/// What hard links share.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) what: What,
    pub(super) mode: Cell<u32>,
    pub(super) owner: Cell<(u32, u32)>,
    /// Of a directory: `trusted.overlay.opaque`.
    pub(super) opaque: Cell<bool>,
    /// Of a directory: made for what is in it, so that mode and owner are those of the layers
    /// beneath, if they have it.
    pub(super) implied: Cell<bool>,
}

impl Inode {
    fn new(what: What, mode: u32) -> Self {
        let [opaque, implied] = [false; 2].map(Cell::new);
        Self { what, mode: Cell::new(mode), owner: Cell::new((0, 0)), opaque, implied }
    }

    fn is_dir(&self) -> bool {
        matches!(self.what, What::Directory)
    }
}

/// Paths as they are, none through a link; a parent is a directory, and is there.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: BTreeMap<Path, Rc<Inode>>,
    /// The last parent made, as written and as found. Tars go directory by directory.
    last: Option<(Vec<u8>, Vec<u8>)>,
    walks: Cell<u64>,
    /// The directories that were made for what is in them.
    implied: BTreeSet<Path>,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Rc::new(Inode::new(What::Directory, 0o755));
        Self {
            inodes: [(Path::default(), root)].into(),
            last: None,
            walks: Cell::new(0),
            implied: BTreeSet::new(),
        }
    }
}

impl Names for Tree {
    fn get(&self, path: &[u8]) -> Result<Found<'_>, String> {
        self.count(1)?;
        Ok(match self.inodes.get(path).map(|inode| &inode.what) {
            None => Found::Nothing,
            Some(What::Directory) => Found::Directory,
            Some(What::Symlink(target)) => Found::Link(target),
            Some(_) => Found::Other,
        })
    }
}

impl Tree {
    /// For another tar over this tree.
    pub(super) fn begin(&mut self) {
        self.walks.set(0);
        self.last = None;
    }

    pub(super) fn len(&self) -> usize {
        self.inodes.len().max(self.implied.len())
    }

    pub(super) fn inodes(&self) -> impl Iterator<Item = (&Path, &Inode)> {
        self.inodes.iter().map(|(path, inode)| (path, &**inode))
    }

    /// Where a path leads within the layer.
    pub(super) fn root_path(&self, path: &[u8]) -> Result<Vec<u8>, String> {
        root_path(path, self)
    }

    /// The directory that a path written as `path` is, made with its parents where missing.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        if let Some((written, found)) = &self.last
            && written == path
        {
            return Ok(found.clone());
        }
        let found = self.root_path(path)?;
        self.make_parents(&found)?;
        self.last = Some((path.to_vec(), found.clone()));
        Ok(found)
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<(), String> {
        let mut at = Vec::with_capacity(path.len());
        for part in parts(path) {
            at.push(b'/');
            at.extend_from_slice(part);
            match self.inodes.get(&at[..]) {
                Some(inode) if inode.is_dir() => {}
                Some(_) => {
                    return Err(format!("{} is a file, and yet has something in it", escape(&at)));
                }
                None => {
                    self.make(&at, What::Directory, 0o755)?.implied.set(true);
                    self.implied.insert(at.as_slice().into());
                }
            }
        }
        Ok(())
    }

    /// What stands at a path whose parent was found.
    pub(super) fn inode(&self, path: &[u8]) -> Option<&Inode> {
        self.inodes.get(path).map(|inode| &**inode)
    }

    /// Makes what is not there.
    pub(super) fn make(&mut self, path: &[u8], what: What, mode: u32) -> Result<&Inode, String> {
        check_name(split(path).1)?;
        if path.len() > CanonicalPath::MAX {
            return Err(format!("{}… is longer than PATH_MAX", escape(&path[..60])));
        }
        // A directory with the bit gives its group to what is made in it.
        let parent = split(path).0.strip_suffix(b"/").unwrap_or_default();
        let parent = self.inodes.get(parent).filter(|parent| parent.mode.get() & 0o2000 != 0);
        let group = parent.map_or(0, |parent| parent.owner.get().1);
        let inode = self.inodes.entry(path.into());
        if matches!(inode, std::collections::btree_map::Entry::Occupied(_)) {
            return Err(format!("{} is there already", escape(path)));
        }
        let inode = inode.or_insert_with(|| Rc::new(Inode::new(what, mode)));
        inode.owner.set((0, group));
        Ok(inode)
    }

    /// A second name for what a path as written is, links before its last part followed.
    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<&Inode, String> {
        let (parent, name) = split(target);
        let parent = self.root_path(parent)?;
        let place = match name {
            b"" | b"." => parent,
            b".." => split(&parent).0.strip_suffix(b"/").unwrap_or_default().to_vec(),
            name => [&parent[..], b"/", name].concat(),
        };
        let inode = self.inodes.get(&place[..]).filter(|inode| !inode.is_dir());
        let inode = Rc::clone(inode.ok_or_else(|| {
            format!(
                "the hard link {} is to {}, which is no file of this layer before it",
                escape(path),
                escape(&place)
            )
        })?);
        check_name(split(path).1)?;
        Ok(self.inodes.entry(path.into()).insert_entry(inode).into_mut())
    }

    /// Removes what stands at a path, and all that is in it.
    pub(super) fn remove_all(&mut self, path: &[u8]) {
        if let Some(inode) = self.inodes.remove(path) {
            self.last = None;
            if inode.is_dir() {
                remove_beneath(&mut self.inodes, path);
            }
        }
    }

    fn count(&self, more: usize) -> Result<(), String> {
        self.walks.set(self.walks.get() + more as u64);
        if self.walks.get() > WALKS {
            return Err("its symbolic links and opaque directories take too long".to_owned());
        }
        Ok(())
    }

    /// Removes all in a directory but for the paths of `kept`, unless something above them goes.
    pub(super) fn remove_beneath_but(
        &mut self,
        path: &[u8],
        kept: &HashSet<Vec<u8>>,
    ) -> Result<(), String> {
        let start = [path, b"/"].concat();
        let beneath = self.inodes.range::<[u8], _>((Bound::Included(&start[..]), Bound::Unbounded));
        let beneath = beneath.map(|(name, _)| name).take_while(|name| name.starts_with(&start));
        let (mut gone, mut seen) = (Vec::new(), 0);
        for name in beneath {
            seen += 1;
            if !kept.contains(&name[..]) {
                gone.push(name.clone());
            }
        }
        self.count(seen)?;
        for name in gone {
            self.remove_all(&name);
        }
        Ok(())
    }

    /// The layer, or the members that must be hashed after all.
    pub(super) fn into_layer(self, algorithms: Algorithms) -> Result<Layer, HashSet<MemberId>> {
        let mut wanted = HashSet::new();
        let mut nodes = Vec::with_capacity(self.inodes.len());
        for (path, inode) in self.inodes {
            let node = match &inode.what {
                What::Directory => Node::Dir { opaque: inode.opaque.get() },
                What::Symlink(target) => Node::Symlink(target.clone()),
                What::Whiteout => Node::Whiteout,
                What::Special => Node::Other,
                What::File(kept) => match kept.code(&path, &inode) {
                    Ok(file) => file.map_or(Node::Other, Node::File),
                    Err(id) => {
                        wanted.insert(id);
                        continue;
                    }
                },
            };
            nodes.push((path, node));
        }
        let implied = self.implied.into_iter().collect();
        if wanted.is_empty() { Ok(Layer { algorithms, nodes, implied }) } else { Err(wanted) }
    }

    /// What there is to see where nothing lies beneath the tree, or the members that must be
    /// hashed after all.
    pub(crate) fn into_merged(self) -> Result<Merged, HashSet<MemberId>> {
        let (mut merged, mut wanted) = (Merged::default(), HashSet::new());
        for (path, inode) in self.inodes {
            match &inode.what {
                What::Directory | What::Whiteout | What::Special => {}
                What::Symlink(target) => merged.links.push((path, target.clone())),
                What::File(kept) => match kept.code(&path, &inode) {
                    Ok(None) => {}
                    Ok(Some(file)) => merged.files.push((path, file, kept.id.layer)),
                    Err(id) => drop(wanted.insert(id)),
                },
            }
        }
        if wanted.is_empty() { Ok(merged) } else { Err(wanted) }
    }
}

impl Kept {
    /// The file under that name, if it is code there; an error where it is and was not hashed.
    fn code(&self, path: &[u8], inode: &Inode) -> Result<Option<FileNode>, MemberId> {
        let kind = self.nature.with_mode(inode.mode.get()).kind(split(path).1);
        let Some(kind) = kind else { return Ok(None) };
        let digests = self.digests.clone().ok_or(self.id)?;
        Ok(Some(FileNode { kind, size: self.size, digests, id: None }))
    }
}
