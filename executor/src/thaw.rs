//! What a freezer must let go of once the container is killed.
//!
//! A task that a v1 freezer holds does not die of SIGKILL, and runc calls a container paused
//! as long as its freezer says so, be there nobody in it, and refuses to delete it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroup::{Cgroup, Mount, Version, cgroups_beneath, memberships, mounts};

const STATE: &str = "freezer.state";

/// Takes killed processes out of the v1 freezers that hold them, wherever those are, by moving
/// them to the top of that hierarchy: they run no more code, and nobody else is thawed.
pub fn release_killed(pids: impl IntoIterator<Item = u32>) {
    let Some(top) = top() else { return };
    for pid in pids {
        let Ok(text) = fs::read(format!("/proc/{pid}/cgroup")) else { continue };
        let groups = memberships(&text).into_iter();
        let held = groups.filter(|group| group.version == Version::One).any(|group| {
            let path = group.path.strip_prefix("/").unwrap_or(&group.path);
            is_held(&top.join(path))
        });
        if held {
            // It has ended meanwhile, or is seen to have not.
            let _ = fs::write(top.join("cgroup.procs"), pid.to_string());
        }
    }
}

/// Thaws a container's cgroup and those beneath it; removes them where one above holds them
/// and nobody is in them.
pub(crate) fn melt(cgroup: &Cgroup) {
    let tree = cgroups_beneath(&cgroup.path);
    if !cgroup.is_still_there() {
        return;
    }
    match cgroup.version {
        Version::Two => {
            for cgroup in &tree {
                let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
            }
        }
        Version::One => {
            for cgroup in &tree {
                let _ = fs::write(cgroup.join(STATE), "THAWED");
            }
            if is_held(&cgroup.path) {
                // The kernel removes none that anybody is in.
                tree.iter().rev().for_each(|cgroup| drop(fs::remove_dir(cgroup)));
            }
        }
    }
}

fn is_held(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join(STATE)).is_ok_and(|state| state.trim() != "THAWED")
}

/// Where the top of the v1 freezer's hierarchy is mounted.
fn top() -> Option<PathBuf> {
    let mounts = mounts(&fs::read("/proc/self/mountinfo").ok()?);
    let top = |mount: &&Mount| mount.version == Version::One && mount.root == Path::new("/");
    mounts.iter().rev().find(top).map(|mount| mount.point.clone())
}
