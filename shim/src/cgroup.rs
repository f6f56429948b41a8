//! The cgroups of a container that runc did not live to remove.
//!
//! A `runc create` that dies half-way, as it does when its shim is killed, has made cgroups
//! and kept no state; `runc delete` then knows of nothing.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// How often to try, and how long to wait between: the last process of a cgroup may still
/// be going.
const TRIES: (u32, Duration) = (20, Duration::from_millis(10));

/// Removes those of the container in `bundle` that nobody is in. A cgroup with a process in
/// it can't be removed, so that nothing which runs is touched.
pub fn remove_empty(bundle: &Path) {
    let Some(path) = path_of(bundle) else { return };
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut left: Vec<PathBuf> = hierarchies(&mounts).map(|mount| mount.join(&path)).collect();
    left.sort();
    left.dedup();
    for _ in 0..TRIES.0 {
        left.retain(|cgroup| cgroup.is_dir() && !remove(cgroup));
        if left.is_empty() {
            return;
        }
        std::thread::sleep(TRIES.1);
    }
}

/// The path beneath the hierarchies, by the container's own `config.json`; none for
/// systemd's form (`slice:prefix:name`), whose scopes systemd removes.
fn path_of(bundle: &Path) -> Option<PathBuf> {
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
    let path = Path::new(&spec.linux.cgroups_path);
    let relative: PathBuf =
        path.components().filter(|part| !matches!(part, Component::RootDir)).collect();
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let own = plain && relative.components().next().is_some();
    (own && !spec.linux.cgroups_path.contains(':')).then_some(relative)
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
    if fs::remove_dir(cgroup).is_ok() {
        return true;
    }
    let Ok(entries) = fs::read_dir(cgroup) else { return true };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(cgroups_path: &str) -> Option<PathBuf> {
        let dir = tempfile::tempdir().unwrap();
        let spec = serde_json::json!({"linux": {"cgroupsPath": cgroups_path}});
        fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        path_of(dir.path())
    }

    #[test]
    fn only_a_path_of_its_own_is_looked_at() {
        assert_eq!(path("/default/web"), Some("default/web".into()));
        for not_own in ["", "/", "..", "/../web", "/a/../..", "system.slice:cri:web"] {
            assert_eq!(path(not_own), None, "{not_own:?}");
        }
        assert_eq!(path_of(Path::new("/nonexistent")), None);
    }

    #[test]
    fn hierarchies_are_told_by_their_type() {
        let lines = b"30 23 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
                      32 23 0:28 / /run rw - tmpfs tmpfs rw\nbroken\n";
        let found: Vec<_> = hierarchies(lines).collect();
        assert_eq!(found, ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"].map(PathBuf::from));
    }

    #[test]
    fn empty_cgroups_go_and_others_stay() {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let root = hierarchies(&mounts)
            .find(|mount| mount.ends_with("pids") || mount.ends_with("cgroup"))
            .unwrap();
        let name = format!("lacre-shim-{}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let spec = serde_json::json!({"linux": {"cgroupsPath": format!("/{name}")}});
        fs::write(dir.path().join("config.json"), spec.to_string()).unwrap();
        let cgroup = root.join(&name);
        fs::create_dir_all(cgroup.join("inner")).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(cgroup.join("inner/cgroup.procs"), child.id().to_string()).unwrap();
        remove_empty(dir.path());
        assert!(cgroup.is_dir());
        child.kill().unwrap();
        child.wait().unwrap();
        remove_empty(dir.path());
        assert!(!cgroup.exists());
    }
}
