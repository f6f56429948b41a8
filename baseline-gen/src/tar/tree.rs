//! What a layer's tar makes of an empty directory: later members replace earlier ones,
//! and a parent is looked up through the symbolic links of this layer.

use std::collections::{BTreeMap, HashSet};

use lacre_types::{CanonicalPath, escape};

use crate::hash::Row;
use crate::kind::Nature;
use crate::layer::{FileNode, Node, Path, remove_beneath};
use crate::linked_path::{Astray, LinkedPath};

/// Members, by their place in the tar, that are hashed although their own name does not
/// make them code.
pub(crate) type Wanted = HashSet<u64>;

/// A regular file as the tar has it. Its kind hangs on its name too, and a hard link may
/// give it another.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) nature: Nature,
    pub(super) size: u64,
    pub(super) digests: Option<Row>,
    pub(super) index: u64,
    pub(super) empty_whiteout: bool,
}

#[derive(Debug, Clone)]
enum Leaf {
    File(Kept),
    Node(Node),
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    leaves: BTreeMap<Path, Leaf>,
    /// The last parent looked up, as written and as found. Tars go directory by directory.
    last: Option<(Vec<u8>, Vec<u8>)>,
}

/// Why a member has no place.
#[derive(Debug)]
enum Misplaced {
    Astray(Astray),
    InFile(Vec<u8>),
}

impl From<Astray> for Misplaced {
    fn from(why: Astray) -> Self {
        Self::Astray(why)
    }
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(super) fn file(&mut self, path: &[u8], kept: Kept) -> Result<(), String> {
        self.replace(path, Leaf::File(kept))
    }

    pub(super) fn other(&mut self, path: &[u8]) -> Result<(), String> {
        self.replace(path, Leaf::Node(Node::Other))
    }

    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), String> {
        if target.is_empty() || target.len() > CanonicalPath::MAX {
            let path = escape(path);
            return Err(format!("the symbolic link {path} has {} bytes", target.len()));
        }
        self.replace(path, Leaf::Node(Node::Symlink(target.into())))
    }

    /// A second name. The target stands in the same layer and before it.
    pub(super) fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), String> {
        let target = self.place(target)?;
        match self.leaves.get(target.as_slice()) {
            None | Some(Leaf::Node(Node::Dir { .. } | Node::Whiteout)) => Err(format!(
                "the hard link {} is to {}, which is no file of this layer before it",
                escape(path),
                escape(&target)
            )),
            Some(leaf) => {
                let leaf = leaf.clone();
                if self.place(path)? == target {
                    return Ok(());
                }
                self.replace(path, leaf)
            }
        }
    }

    pub(super) fn directory(&mut self, path: &[u8], opaque: bool) -> Result<(), String> {
        let path = self.place(path)?;
        self.make_directory(path, opaque);
        Ok(())
    }

    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), String> {
        self.directory(path, true)
    }

    /// Hides the layers beneath, never what this layer has itself.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Result<(), String> {
        let path = self.place(path)?;
        match self.leaves.get_mut(path.as_slice()) {
            None => {
                self.leaves.insert(path.into(), Leaf::Node(Node::Whiteout));
            }
            Some(Leaf::Node(Node::Dir { opaque })) => *opaque = true,
            Some(_) => {}
        }
        Ok(())
    }

    fn make_directory(&mut self, path: Vec<u8>, opaque: bool) {
        match self.leaves.get_mut(path.as_slice()) {
            Some(Leaf::Node(Node::Dir { opaque: already })) => *already |= opaque,
            Some(leaf) => {
                let opaque = opaque || matches!(leaf, Leaf::Node(Node::Whiteout));
                *leaf = Leaf::Node(Node::Dir { opaque });
                self.last = None;
            }
            None => {
                self.leaves.insert(path.into(), Leaf::Node(Node::Dir { opaque }));
            }
        }
    }

    fn replace(&mut self, path: &[u8], leaf: Leaf) -> Result<(), String> {
        let path = self.place(path)?;
        if path.is_empty() {
            return Err("the root is not a directory".to_owned());
        }
        let was = self.leaves.insert(path.as_slice().into(), leaf);
        if let Some(Leaf::Node(Node::Dir { .. })) = was {
            remove_beneath(&mut self.leaves, &path);
        }
        if was.is_some() {
            self.last = None;
        }
        Ok(())
    }

    /// Where a path stands once its parents are followed, which are made where missing.
    /// The last part is not followed.
    fn place(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            self.leaves.entry(Path::default()).or_insert(Leaf::Node(Node::Dir { opaque: false }));
            return Ok(Vec::new());
        };
        let (parent, name) = path.split_at(slash);
        if self.last.as_ref().is_none_or(|(written, _)| written != parent) {
            let found = self.parent(parent)?;
            self.last = Some((parent.to_vec(), found));
        }
        let found = self.last.as_ref().map_or(&[][..], |(_, found)| found);
        let place = [found, name].concat();
        if place.len() > CanonicalPath::MAX {
            let len = place.len();
            return Err(format!("{} lands on a path of {len} bytes", escape(&path[..slash])));
        }
        // `/` + nothing: the root itself.
        Ok(if place == b"/" { Vec::new() } else { place })
    }

    fn parent(&mut self, path: &[u8]) -> Result<Vec<u8>, String> {
        self.make_directory_if_none(&[]);
        self.parent_of(LinkedPath::new(path)).map_err(|why| match why {
            Misplaced::Astray(Astray::TooLong) => {
                format!("{} lands on a path longer than PATH_MAX", escape(path))
            }
            Misplaced::Astray(Astray::TooManyLinks) => {
                format!("{}: too many symbolic links", escape(path))
            }
            Misplaced::InFile(file) => {
                format!("{} is a file, and yet has something in it", escape(&file))
            }
        })
    }

    fn parent_of(&mut self, mut linked: LinkedPath<'_>) -> Result<Vec<u8>, Misplaced> {
        while let Some(place) = linked.step()? {
            match self.leaves.get(place) {
                Some(Leaf::Node(Node::Dir { .. })) => {}
                None | Some(Leaf::Node(Node::Whiteout)) => {
                    self.make_directory(place.to_vec(), false);
                }
                Some(Leaf::Node(Node::Symlink(target))) => {
                    linked.follow(target.to_vec().into())?;
                }
                Some(_) => return Err(Misplaced::InFile(place.to_vec())),
            }
        }
        Ok(linked.into_place())
    }

    fn make_directory_if_none(&mut self, path: &[u8]) {
        if !self.leaves.contains_key(path) {
            self.make_directory(path.to_vec(), false);
        }
    }

    /// The nodes, or the members that must be hashed after all.
    pub(super) fn into_nodes(mut self) -> Result<Vec<(Path, Node)>, Wanted> {
        self.make_directory_if_none(&[]);
        let mut wanted = Wanted::new();
        let mut nodes = Vec::with_capacity(self.leaves.len());
        for (path, leaf) in self.leaves {
            let node = match leaf {
                Leaf::Node(node) => node,
                Leaf::File(kept) => {
                    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                    match (kept.nature.kind(name), kept.digests) {
                        (None, _) => Node::Other,
                        (Some(kind), Some(digests)) => {
                            Node::File(FileNode { kind, size: kept.size, digests, id: None })
                        }
                        (Some(_), None) => {
                            wanted.insert(kept.index);
                            continue;
                        }
                    }
                }
            };
            nodes.push((path, node));
        }
        if wanted.is_empty() { Ok(nodes) } else { Err(wanted) }
    }
}
