//! Layers merged from the bottom up, each hides what it must, as overlayfs does.

use std::collections::BTreeMap;

use crate::layer::{FileNode, Layer, Node, Path, remove_beneath};

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
    let mut seen: BTreeMap<Path, Seen> = BTreeMap::new();
    for (index, layer) in layers.into_iter().enumerate() {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        // Sorted: what a directory hides is hidden before its own content comes.
        for (path, node) in layer.nodes {
            match node {
                Node::Dir { opaque } => {
                    seen.remove(&path);
                    // overlayfs does not ask the root of a layer.
                    if opaque && !path.is_empty() {
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

    #[test]
    fn plain_data_hides_code() {
        assert_eq!(seen(&[layer(&[("/a", file())]), layer(&[("/a", Node::Other)])]), "");
    }
}
