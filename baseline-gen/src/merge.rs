//! Layers merged from the bottom up, each hides what it must: as overlayfs does, or as
//! unpacking one over the other.

use std::collections::BTreeMap;

use crate::layer::{FileNode, Layer, Node, Path, remove_beneath};
use crate::linked_path::LinkedPath;
use crate::options::Stacking;

/// What is left to see of a stack of layers: the code, and the links that lead to it.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// With the index of its layer, counted from the bottom.
    pub(crate) files: Vec<(Path, FileNode, u16)>,
    pub(crate) links: Vec<(Path, Box<[u8]>)>,
}

enum Seen {
    File(FileNode, u16),
    Link(Box<[u8]>),
}

/// `layers` from the bottom up, each in a directory of its own.
pub(crate) fn merge(layers: impl IntoIterator<Item = Layer>) -> Merged {
    merge_as(Stacking::Overlaid, layers)
}

/// `layers` from the bottom up.
pub(crate) fn merge_as(stacking: Stacking, layers: impl IntoIterator<Item = Layer>) -> Merged {
    let mut seen: BTreeMap<Path, Seen> = BTreeMap::new();
    for (index, layer) in layers.into_iter().enumerate() {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let mut followed = Followed::default();
        // Sorted: what a directory hides is hidden before its own content comes.
        for (path, node) in layer.nodes {
            // By the layer's own name for it: its place is another below a link that was followed.
            let is_implied = layer.implied.binary_search(&path).is_ok();
            let place = followed.place(&path);
            let path = match stacking {
                Stacking::Unpacked if is_implied => followed.follow(&seen, path, place),
                _ => place,
            };
            match node {
                Node::Dir { opaque } => {
                    seen.remove(&path);
                    // overlayfs does not ask the root of a layer; who unpacks does.
                    if opaque && (stacking == Stacking::Unpacked || !path.is_empty()) {
                        remove_beneath(&mut seen, &path);
                    }
                }
                Node::Whiteout | Node::Other => {
                    remove_beneath(&mut seen, &path);
                    seen.remove(&path);
                }
                Node::File(file) => {
                    remove_beneath(&mut seen, &path);
                    seen.insert(path, Seen::File(file, index));
                }
                Node::Symlink(target) => {
                    remove_beneath(&mut seen, &path);
                    seen.insert(path, Seen::Link(target));
                }
            }
        }
    }
    let mut merged = Merged::default();
    for (path, seen) in seen {
        match seen {
            Seen::File(file, layer) => merged.files.push((path, file, layer)),
            Seen::Link(target) => merged.links.push((path, target)),
        }
    }
    merged
}

/// The directories of one layer that no member of it names, and that are links in what it is
/// unpacked over: by their names in the layer, where they lead. What is in them comes there.
#[derive(Default)]
struct Followed(BTreeMap<Path, Path>);

impl Followed {
    /// Where what the layer has at that path comes to.
    fn place(&self, path: &[u8]) -> Path {
        let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
        let mut parents = slashes.map(|(at, _)| path.split_at(at));
        let to = parents.find_map(|(parent, rest)| Some([self.0.get(parent)?, rest].concat()));
        to.map_or_else(|| path.into(), Vec::into_boxed_slice)
    }

    /// Where the directory comes to that the layer has at `path`: to where the link at its
    /// `place` leads, if there is one that leads somewhere.
    fn follow(&mut self, seen: &BTreeMap<Path, Seen>, path: Path, place: Path) -> Path {
        match lead(seen, &place) {
            Some(to) => {
                self.0.insert(path, to.clone());
                to
            }
            None => place,
        }
    }
}

/// Where the links lead to that a path goes through; `None` where there is none, or it leads
/// nowhere.
fn lead(seen: &BTreeMap<Path, Seen>, path: &[u8]) -> Option<Path> {
    let mut linked = LinkedPath::new(path);
    while let Some(place) = linked.step().ok()? {
        if let Some(Seen::Link(target)) = seen.get(place) {
            linked.follow(target.to_vec().into()).ok()?;
        }
    }
    linked.went_through_links().then(|| linked.into_place().into())
}

#[cfg(test)]
mod tests {
    use lacre_types::Kind;

    use super::*;
    use crate::Algorithms;

    fn layer(nodes: &[(&str, Node)]) -> Layer {
        let mut nodes: Vec<_> =
            nodes.iter().map(|(path, node)| (path.as_bytes().into(), node.clone())).collect();
        nodes.sort_by(|(a, _): &(Path, Node), (b, _)| a.cmp(b));
        Layer { algorithms: Algorithms::default(), nodes, implied: Vec::new() }
    }

    fn file() -> Node {
        Node::File(FileNode { kind: Kind::Elf, size: 1, digests: [1; 32].into(), id: None })
    }

    fn dir() -> Node {
        Node::Dir { opaque: false }
    }

    fn seen(layers: &[Layer]) -> String {
        let merged = merge(layers.iter().cloned());
        let name = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let files = merged.files.iter().map(|(path, _, layer)| format!("{}@{layer}", name(path)));
        let links = merged.links.iter().map(|(path, _)| format!("{}@", name(path)));
        files.chain(links).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_whiteout_hides_a_file_and_a_directory() {
        let bottom = layer(&[("/a", file()), ("/d", dir()), ("/d/x", file()), ("/d-", file())]);
        let top = layer(&[("/a", Node::Whiteout), ("/d", Node::Whiteout)]);
        assert_eq!(seen(&[bottom, top]), "/d-@0");
    }

    #[test]
    fn an_opaque_directory_hides_what_is_beneath_and_not_its_own() {
        let bottom = layer(&[("/d", dir()), ("/d/x", file()), ("/d/y", file())]);
        let top = layer(&[("/d", Node::Dir { opaque: true }), ("/d/y", file())]);
        assert_eq!(seen(&[bottom, top]), "/d/y@1");
    }

    #[test]
    fn the_root_of_a_layer_hides_nothing() {
        let top = layer(&[("", Node::Dir { opaque: true }), ("/b", file())]);
        assert_eq!(seen(&[layer(&[("/a", file())]), top]), "/a@0 /b@1");
    }

    #[test]
    fn files_and_directories_replace_each_other() {
        let bottom = layer(&[("/a", dir()), ("/a/x", file()), ("/b", file())]);
        let top = layer(&[("/a", file()), ("/b", dir()), ("/b/x", file())]);
        assert_eq!(seen(&[bottom.clone(), top.clone()]), "/a@1 /b/x@1");
        assert_eq!(seen(&[bottom, top, layer(&[("/a", dir())])]), "/b/x@1", "once hidden stays so");
    }

    /// What a layer has in a directory that it does not name, and that is a link beneath it.
    #[test]
    fn over_a_link_it_is_hidden_beside_it_or_unpacked_where_it_leads() {
        let link = |target: &str| Node::Symlink(target.as_bytes().into());
        let bottom = layer(&[
            ("/bin", link("usr/bin")),
            ("/lib", link("/usr/./lib")),
            ("/usr/bin/sh", file()),
            ("/usr/lib", link("lib64")),
            ("/usr/lib64", dir()),
        ]);
        let mut top = layer(&[
            ("/bin", dir()),
            ("/bin/x", file()),
            ("/lib", dir()),
            ("/lib/a", dir()),
            ("/lib/a/y", file()),
        ]);
        top.implied = [&b"/bin"[..], b"/lib", b"/lib/a"].map(Path::from).to_vec();
        let show = |top: &Layer, stacking| {
            let merged = merge_as(stacking, [bottom.clone(), top.clone()]);
            let names = merged.files.iter().map(|(path, ..)| path.to_vec());
            let links = merged.links.iter().map(|(path, _)| [path, &b"@"[..]].concat());
            let all: Vec<_> = names.chain(links).map(|it| String::from_utf8(it).unwrap()).collect();
            all.join(" ")
        };
        assert_eq!(show(&top, Stacking::Overlaid), "/bin/x /lib/a/y /usr/bin/sh /usr/lib@");
        let unpacked = "/usr/bin/sh /usr/bin/x /usr/lib64/a/y /bin@ /lib@ /usr/lib@";
        assert_eq!(show(&top, Stacking::Unpacked), unpacked);
        // One that a member names replaces the link.
        top.implied.clear();
        for stacking in [Stacking::Overlaid, Stacking::Unpacked] {
            assert_eq!(show(&top, stacking), "/bin/x /lib/a/y /usr/bin/sh /usr/lib@");
        }
    }

    fn unpacked(bottom: &Layer, top: &Layer) -> String {
        let merged = merge_as(Stacking::Unpacked, [bottom.clone(), top.clone()]);
        let names = merged.files.iter().map(|(path, _, layer)| (path, format!("@{layer}")));
        let links = merged.links.iter().map(|(path, _)| (path, "@".to_owned()));
        let name = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let all: Vec<_> = names.chain(links).map(|(path, at)| name(path) + &at).collect();
        all.join(" ")
    }

    #[test]
    fn a_link_below_a_link_is_followed_too() {
        let link = |target: &str| Node::Symlink(target.as_bytes().into());
        let bottom = layer(&[
            ("/lib", link("usr/lib")),
            ("/usr", dir()),
            ("/usr/lib", dir()),
            ("/usr/lib/a", link("b")),
            ("/usr/lib/b", dir()),
            ("/usr/lib/b/old", file()),
        ]);
        let nodes =
            [("/lib", dir()), ("/lib/a", dir()), ("/lib/a/c", dir()), ("/lib/a/c/x", file())];
        let mut top = layer(&nodes);
        top.implied = [&b"/lib"[..], b"/lib/a", b"/lib/a/c"].map(Path::from).to_vec();
        let there = "/usr/lib/b/c/x@1 /usr/lib/b/old@0 /lib@ /usr/lib/a@";
        assert_eq!(unpacked(&bottom, &top), there);
        // A member that names the inner one replaces the link where it stands.
        top.implied.remove(1);
        let replaced = "/usr/lib/a/c/x@1 /usr/lib/b/old@0 /lib@";
        assert_eq!(unpacked(&bottom, &top), replaced);
    }

    #[test]
    fn what_an_opaque_directory_hides_is_hidden_where_a_link_leads() {
        let bottom = layer(&[
            ("/bin", Node::Symlink((*b"usr/bin").into())),
            ("/usr", dir()),
            ("/usr/bin", dir()),
            ("/usr/bin/old", file()),
            ("/usr/other", file()),
        ]);
        let mut top = layer(&[("/bin", Node::Dir { opaque: true }), ("/bin/new", file())]);
        top.implied = vec![(*b"/bin").into()];
        assert_eq!(unpacked(&bottom, &top), "/usr/bin/new@1 /usr/other@0 /bin@");
        let top = layer(&[("", Node::Dir { opaque: true }), ("/new", file())]);
        assert_eq!(unpacked(&bottom, &top), "/new@1");
    }

    #[test]
    fn plain_data_hides_code() {
        assert_eq!(seen(&[layer(&[("/a", file())]), layer(&[("/a", Node::Other)])]), "");
    }
}
