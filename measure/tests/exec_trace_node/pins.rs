//! What is pinned on a node, and attached.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libbpf_rs::query::LinkInfoIter;
use libbpf_rs::{MapCore as _, MapHandle, Program};

use crate::common::Node;

/// What is pinned of an attached set.
pub(crate) const LINKS: [&str; 3] = ["lacre_exec", "lacre_fork", "lacre_fetch"];

/// The sets that are pinned.
pub(crate) fn sets(node: &Node) -> Vec<PathBuf> {
    std::fs::read_dir(node.folder()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

pub(crate) fn only_set(node: &Node) -> PathBuf {
    let [set] = <[_; 1]>::try_from(sets(node)).unwrap();
    set
}

/// How many containers stand in each of the node's maps.
pub(crate) fn counts(node: &Node) -> [usize; 5] {
    let set = only_set(node);
    ["names", "rings", "verdicts", "slots", "containers"]
        .map(|name| MapHandle::from_pinned_path(set.join(name)).unwrap().keys().count())
}

/// The kernel's numbers of the programs of a set.
pub(crate) fn programs(set: &Path) -> Vec<u32> {
    let id = |name| {
        let program = Program::fd_from_pinned_path(set.join(format!("{name}-program"))).unwrap();
        Program::id_from_fd(program.as_fd()).unwrap()
    };
    LINKS.into_iter().filter(|name| has_fetch() || *name != "lacre_fetch").map(id).collect()
}

pub(crate) fn has_fetch() -> bool {
    cfg!(target_arch = "x86_64")
}

/// How many of the set's programs the kernel has attached.
pub(crate) fn attached(set: &Path) -> usize {
    let programs = programs(set);
    LinkInfoIter::default().filter(|link| programs.contains(&link.prog_id)).count()
}

/// Whether nothing is attached and no map has a container: the last has left. The kernel lets
/// go of a link some time after its last pin.
pub(crate) fn is_left_clean(node: &Node) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    let set = only_set(node);
    while attached(&set) > 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    attached(&set) == 0
        && counts(node) == [0; 5]
        && LINKS.iter().all(|name| !set.join(name).exists())
}
