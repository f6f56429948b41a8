//! What containers leave behind. Pinned BPF programs are the node's own, loaded once, and
//! no container's; so is lacre's watchdog, which ends a while after the last of them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_types::mountinfo;

use crate::output::wait_for;
use crate::sandbox::Node;

/// dockerd's own handle of the host's network: the first container that uses it makes it.
const DOCKER_OWN: &str = "/docker/exec/netns/default";

/// The argument by which lacre's watchdog is known.
const WATCHDOG: &str = "--watchdog";
/// What lacre keeps in its run directory for the node, and for no container.
const OF_THE_NODE: [&str; 3] = ["watchdog", "watchdog.lock", "programs.json"];

/// One thing that a container, its shim or a guard of it may leave behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leak {
    /// A process: its id and command line.
    Process(i32, String),
    /// A mount point.
    Mount(String),
    /// A unix socket.
    Socket(PathBuf),
    /// A FIFO.
    Fifo(PathBuf),
    /// A bundle, runc's state, or another file of one container.
    State(PathBuf),
    /// A cgroup.
    Cgroup(PathBuf),
    /// A network namespace.
    NetNs(PathBuf),
}

/// Of a file that was left, as many characters are shown.
const WORDS: usize = 800;

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid, command) => {
                // What it waits for, if it is still there.
                let wait = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
                write!(f, "process {pid} ({wait}): {command}")
            }
            Self::Mount(target) => write!(f, "mount {target}"),
            Self::Socket(path) => write!(f, "socket {}", path.display()),
            Self::Fifo(path) => write!(f, "fifo {}", path.display()),
            Self::State(path) => {
                // Whose it is stands in its first words, where it is a file of lacre's.
                let json = path.extension().is_some_and(|extension| extension == "json");
                let text = json.then(|| fs::read_to_string(path).ok()).flatten();
                let words: String = text.unwrap_or_default().chars().take(WORDS).collect();
                write!(f, "state {} {words}", path.display())
            }
            Self::Cgroup(path) => {
                let state = fs::read_to_string(path.join("freezer.state")).unwrap_or_default();
                write!(f, "cgroup {} {}", path.display(), state.trim_end())
            }
            Self::NetNs(path) => write!(f, "network namespace {}", path.display()),
        }
    }
}

/// All there is of a node at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    found: BTreeSet<Leak>,
}

impl Snapshot {
    /// Looks at everything that is the node's, but for the processes `daemons`: they come
    /// and go with a restart, and are no leak.
    #[must_use]
    pub fn take(node: &Node, daemons: &[i32]) -> Self {
        let mut found = BTreeSet::new();
        for process in node.processes() {
            let watchdog = process.arguments.iter().any(|word| word == WATCHDOG);
            if daemons.contains(&process.pid) || watchdog {
                continue;
            }
            found.insert(Leak::Process(process.pid, process.arguments.join(" ")));
        }
        let mounts = format!("/proc/{}/mountinfo", node.holder());
        for mount in mountinfo::lines(&fs::read(mounts).unwrap_or_default()).flatten() {
            let point = String::from_utf8_lossy(&mount.point);
            if !point.ends_with(DOCKER_OWN) {
                found.insert(Leak::Mount(point.into_owned()));
            }
        }
        let run = node.folder().join("run");
        walk(&run, &mut |path, kind| {
            let within = path.strip_prefix(&run).unwrap_or(path);
            if OF_THE_NODE.iter().any(|name| within == Path::new("lacre").join(name)) {
                return;
            }
            if kind.is_socket() {
                found.insert(Leak::Socket(path.to_owned()));
            } else if kind.is_fifo() {
                found.insert(Leak::Fifo(path.to_owned()));
            } else if within.starts_with("netns") {
                found.insert(Leak::NetNs(path.to_owned()));
            } else if !kind.is_dir() || is_of_a_container(within) {
                found.insert(Leak::State(path.to_owned()));
            }
        });
        let bundles = node.folder().join("state/io.containerd.runtime.v2.task");
        for namespace in entries(&bundles) {
            found.extend(entries(&namespace).into_iter().map(Leak::State));
        }
        let tag = node.tag();
        walk(Path::new("/sys/fs/cgroup"), &mut |path, kind| {
            let text = path.to_string_lossy();
            if kind.is_dir() && text.contains(&format!("/{tag}/")) {
                found.insert(Leak::Cgroup(path.to_owned()));
            }
        });
        Self { found }
    }

    /// What there is that is not in `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<Leak> {
        self.found.difference(&before.found).cloned().collect()
    }

    /// What is left over against `self`, when the node has come to rest or `limit` is over.
    #[must_use]
    pub fn settle(&self, node: &Node, daemons: &[i32], limit: Duration) -> Vec<Leak> {
        let mut left = Vec::new();
        let _ = wait_for("rest", limit, || {
            left = Self::take(node, daemons).since(self);
            Ok(left.is_empty().then_some(()))
        });
        left
    }
}

/// Folders that are made per container: `containerd/runc/NAMESPACE/ID`, `lacre/…`.
fn is_of_a_container(within: &Path) -> bool {
    (within.starts_with("containerd/runc") && within.components().count() == 4)
        || (within.starts_with("lacre") && within.components().count() > 2)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    found.flatten().map(|entry| entry.path()).collect()
}

/// Calls `visit` for all beneath `folder`; follows no link, and what goes meanwhile is gone.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path, fs::FileType)) {
    let Ok(found) = fs::read_dir(folder) else { return };
    for entry in found.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        visit(&path, kind);
        if kind.is_dir() {
            walk(&path, visit);
        }
    }
}
