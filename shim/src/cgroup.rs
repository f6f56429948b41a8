//! The cgroups of a container that runc did not live to remove, or to thaw.
//!
//! A `runc create` that dies half-way, as it does when its shim is killed, has made cgroups
//! and kept no state; `runc delete` then knows of nothing. A `runc kill` that dies half-way
//! leaves them frozen.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::Process;

/// How long the last process of a cgroup may take to go: killed, on a machine without time to
/// spare. containerd gives `delete` five seconds in all.
const GOING: Duration = Duration::from_secs(3);
/// How long to wait where nobody is to be seen: the kernel may have yet to let go of them.
const MOMENT: Duration = Duration::from_millis(5);
/// THAWED, FREEZING or FROZEN (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
const FREEZER: &str = "freezer.state";

/// Removes those of the container in `bundle` that nobody is in, or that are being left. A
/// cgroup with a process in it can't be removed, so that nothing which runs is touched.
pub fn remove_empty(bundle: &Path) {
    let Some(CgroupsPath::Plain(path)) = path_of(bundle) else { return };
    let until = Instant::now() + GOING;
    let mut left = everywhere(&path);
    loop {
        left.retain(|cgroup| cgroup.is_dir() && !remove(cgroup));
        if left.is_empty() || Instant::now() >= until {
            return;
        }
        for process in left.iter().flat_map(|cgroup| processes(&beneath(cgroup))) {
            let _ = process.wait(until.saturating_duration_since(Instant::now()));
        }
        std::thread::sleep(MOMENT);
    }
}

/// Kills what is in the container's cgroups where a v1 freezer holds any of it, and thaws
/// them. A frozen process does not die of SIGKILL; and where one of its threads was in execve
/// when the others stopped, the cgroup stays FREEZING, which runc waits out for ever.
pub fn end_frozen(bundle: &Path) {
    let Some(CgroupsPath::Plain(path) | CgroupsPath::Scope(path)) = path_of(bundle) else { return };
    for cgroup in everywhere(&path) {
        let tree = beneath(&cgroup);
        if !tree.iter().any(|cgroup| is_held(cgroup)) {
            continue;
        }
        let processes = processes(&tree);
        if processes.iter().any(|process| process.pid == std::process::id()) {
            continue; // Not the container's alone.
        }
        for process in processes {
            let _ = process.kill(Duration::ZERO);
        }
        for cgroup in &tree {
            // One that has gone meanwhile needs no thawing.
            let _ = fs::write(cgroup.join(FREEZER), "THAWED");
        }
    }
}

fn is_held(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join(FREEZER)).is_ok_and(|state| state.trim() != "THAWED")
}

fn processes(cgroups: &[PathBuf]) -> Vec<Process> {
    let pids = |cgroup: &PathBuf| fs::read_to_string(cgroup.join("cgroup.procs"));
    let pids: String = cgroups.iter().filter_map(|cgroup| pids(cgroup).ok()).collect();
    pids.lines().filter_map(|pid| Process::by_pid(pid.parse().ok()?)).collect()
}

/// What a container's `config.json` says of its cgroups: a path beneath the hierarchies.
#[derive(Debug, PartialEq, Eq)]
enum CgroupsPath {
    /// As it stands there.
    Plain(PathBuf),
    /// Of systemd's form, `slice:prefix:name`: a scope, which systemd removes.
    Scope(PathBuf),
}

fn path_of(bundle: &Path) -> Option<CgroupsPath> {
    #[derive(serde::Deserialize)]
    struct Spec {
        linux: Linux,
    }
    #[derive(serde::Deserialize)]
    struct Linux {
        #[serde(rename = "cgroupsPath")]
        cgroups_path: String,
    }
    let spec: Spec = serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok()?;
    let named = spec.linux.cgroups_path;
    if named.contains(':') {
        let mut parts = named.split(':');
        let scope = scope(parts.next()?, parts.next()?, parts.next()?)?;
        return parts.next().is_none().then_some(CgroupsPath::Scope(scope));
    }
    let path = Path::new(&named).components().filter(|part| !matches!(part, Component::RootDir));
    own(path.collect()).map(CgroupsPath::Plain)
}

/// Where systemd keeps the scope: in its slice, `a-b.slice`, which is in `a.slice`
/// (systemd.slice(5)). runc's own slice is `system.slice`.
fn scope(slice: &str, prefix: &str, name: &str) -> Option<PathBuf> {
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let stem = slice.strip_suffix(".slice")?;
    let mut path = PathBuf::new();
    if stem != "-" {
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        path.extend(ends.map(|end| format!("{}.slice", &stem[..end])));
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}-") };
    path.push(format!("{prefix}{name}.scope"));
    own(path)
}

/// A path that is no hierarchy's root, and leads out of none.
fn own(path: PathBuf) -> Option<PathBuf> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().next().is_some()).then_some(path)
}

/// The path in each hierarchy.
fn everywhere(path: &Path) -> Vec<PathBuf> {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut all: Vec<PathBuf> = hierarchies(&mounts).map(|mount| mount.join(path)).collect();
    all.sort();
    all.dedup();
    all
}

/// A cgroup and those beneath it, each before its own.
fn beneath(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cgroup) else { return Vec::new() };
    let folders = entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut tree = vec![cgroup.to_owned()];
    tree.extend(folders.flat_map(|folder| beneath(&folder.path())));
    tree
}

/// Where the cgroup hierarchies are mounted (proc_pid_mountinfo(5): after ` - `, the type).
fn hierarchies(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        matches!(kind, "cgroup" | "cgroup2").then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Removes a cgroup with those beneath it; whether it is gone.
fn remove(cgroup: &Path) -> bool {
    let tree = beneath(cgroup);
    let left = tree.iter().rev().filter(|cgroup| fs::remove_dir(cgroup).is_err());
    left.count() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(cgroups_path: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let spec = serde_json::json!({"linux": {"cgroupsPath": cgroups_path}});
        fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        dir
    }

    fn path(cgroups_path: &str) -> Option<CgroupsPath> {
        path_of(bundle(cgroups_path).path())
    }

    #[test]
    fn only_a_path_of_its_own_is_looked_at() {
        assert_eq!(path("/default/web"), Some(CgroupsPath::Plain("default/web".into())));
        for not_own in ["", "/", "..", "/../web", "/a/../..", "::../a", "a:b", "a.slice:b:c:d"] {
            assert_eq!(path(not_own), None, "{not_own:?}");
        }
        assert_eq!(path_of(Path::new("/nonexistent")), None);
    }

    #[test]
    fn scopes_are_where_systemd_keeps_them() {
        for (named, at) in [
            ("system.slice:docker:0a", "system.slice/docker-0a.scope"),
            (":cri-containerd:0a", "system.slice/cri-containerd-0a.scope"),
            ("-.slice::0a", "0a.scope"),
            (
                "kubepods-burstable-pod1.slice:cri-containerd:0a",
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/\
                 cri-containerd-0a.scope",
            ),
        ] {
            assert_eq!(path(named), Some(CgroupsPath::Scope(at.into())), "{named}");
        }
    }

    #[test]
    fn hierarchies_are_told_by_their_type() {
        let lines = b"30 23 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
                      32 23 0:28 / /run rw - tmpfs tmpfs rw\nbroken\n";
        let found: Vec<_> = hierarchies(lines).collect();
        assert_eq!(found, ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from));
    }

    /// A bundle whose cgroup has one beneath it, in which `sleep` runs for so long.
    fn slept_in(name: &str, span: &str) -> (tempfile::TempDir, PathBuf, std::process::Child) {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let root = hierarchies(&mounts)
            .find(|mount| mount.ends_with("pids") || mount.ends_with("cgroup"))
            .unwrap();
        let name = format!("lacre-shim-{name}-{}", std::process::id());
        let cgroup = root.join(&name);
        fs::create_dir_all(cgroup.join("inner")).unwrap();
        let child = std::process::Command::new("sleep").arg(span).spawn().unwrap();
        fs::write(cgroup.join("inner/cgroup.procs"), child.id().to_string()).unwrap();
        (bundle(&format!("/{name}")), cgroup, child)
    }

    #[test]
    fn one_that_is_being_left_is_waited_for() {
        let (dir, cgroup, mut child) = slept_in("left", "0.7");
        remove_empty(dir.path());
        assert!(!cgroup.exists());
        child.wait().unwrap();
    }

    #[test]
    fn empty_cgroups_go_and_others_stay() {
        let (dir, cgroup, mut child) = slept_in("stays", "1000");
        remove_empty(dir.path());
        assert!(cgroup.is_dir());
        child.kill().unwrap();
        child.wait().unwrap();
        remove_empty(dir.path());
        assert!(!cgroup.exists());
    }
}
