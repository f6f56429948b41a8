//! What a freezer must let go of once the container is killed.
//!
//! A task that a v1 freezer holds does not die of SIGKILL, and runc calls a container paused
//! as long as its freezer says so, be there nobody in it, and refuses to delete it.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;

use crate::cgroup::{Cgroup, Mount, Version, memberships, mounts};
use crate::cgroup_tree::{CgroupTree, is_held};
use crate::freezer::wait;

/// Takes a killed process out of the v1 freezer that holds it, wherever that is, by moving it to
/// the top of that hierarchy: it runs no more code, and nobody else is thawed. `pidfd` stands for
/// it: who has its number after it is left where he is.
pub fn release_killed(pid: u32, pidfd: impl AsFd) {
    let Some(top) = top() else { return };
    let Ok(text) = fs::read(format!("/proc/{pid}/cgroup")) else { return };
    let groups = memberships(&text).into_iter();
    let held = groups.filter(|group| group.version == Version::One).any(|group| {
        let path = group.path.strip_prefix("/").unwrap_or(&group.path);
        CgroupTree::open(&top.join(path)).is_ok_and(|it| it.is_some_and(|it| it.is_its_top_held()))
    });
    // Last of all: one that a freezer holds does not end of itself.
    if held && !wait(pidfd, PollFlags::IN, Duration::ZERO).unwrap_or(true) {
        // It has ended meanwhile, or is seen to have not.
        let _ = fs::write(top.join("cgroup.procs"), pid.to_string());
    }
}

/// Thaws a container's cgroup and those beneath it; removes them where one above holds them
/// and nobody is in them.
pub(crate) fn melt(cgroup: &Cgroup) {
    let Ok(tree) = cgroup.tree() else { return };
    match cgroup.version {
        Version::Two => tree.write_to_each("cgroup.freeze", "0"),
        Version::One => {
            tree.thaw();
            if is_held(&cgroup.folder) && cgroup.is_still_there() {
                tree.remove_beneath();
                // The kernel removes none that anybody is in.
                let _ = fs::remove_dir(&cgroup.path);
            }
        }
    }
}

/// Where the top of the v1 freezer's hierarchy is mounted.
fn top() -> Option<PathBuf> {
    let mounts = mounts(&fs::read("/proc/self/mountinfo").ok()?);
    let top = |mount: &&Mount| mount.version == Version::One && mount.root == Path::new("/");
    mounts.iter().rev().find(top).map(|mount| mount.point.clone())
}
