//! The cgroups of a container that runc did not live to remove, or to thaw.
//!
//! A `runc create` that dies half-way, as it does when its shim is killed, has made cgroups
//! and kept no state; `runc delete` then knows of nothing. A `runc kill` that dies half-way
//! leaves them frozen.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use lacre_executor::{CgroupTree, Within};
use lacre_types::{mountinfo, proc_pid};

use super::proc_files::{self, Place, place};
use super::process::Process;
use crate::container::bundle;
use crate::container::spec::Spec;

/// How long the last process of a cgroup may take to go: killed, on a machine without time to
/// spare. containerd gives `delete` five seconds in all.
const GOING: Duration = Duration::from_secs(3);
/// How long to wait where nobody is to be seen: the kernel may have yet to let go of them.
const MOMENT: Duration = Duration::from_millis(5);

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
        for tree in left.iter().filter_map(|cgroup| CgroupTree::open(cgroup).ok().flatten()) {
            for process in looked_up(&tree.processes().pids).filter_map(Result::ok) {
                let _ = process.wait(until.saturating_duration_since(Instant::now()));
            }
        }
        std::thread::sleep(MOMENT);
    }
}

/// Kills the container's processes where a v1 freezer holds any of what is in its cgroups, and
/// thaws them. A frozen process does not die of SIGKILL; and where one of its threads was in
/// execve when the others stopped, the cgroup stays FREEZING, which runc waits out for ever.
/// Another container that is in the same cgroup is left as it is.
pub fn end_frozen(bundle: &Path) {
    let Some(root) = root_of(bundle) else { return };
    let init = bundle::init_pid(bundle).filter(|pid| proc_files::root(*pid) == Some(root));
    if let Some(target) = init.and_then(|pid| lacre_executor::Target::hold(pid).ok()) {
        // What it could not end is looked at below.
        let _ = target.kill();
    }
    let Some(CgroupsPath::Plain(path) | CgroupsPath::Scope(path)) = path_of(bundle) else { return };
    let trees =
        everywhere(&path).into_iter().filter_map(|cgroup| CgroupTree::open(&cgroup).ok()?);
    for tree in trees.filter(CgroupTree::is_held) {
        // A `runc create` that died has kept no init.
        let is_its = |process: &Process| is_of_root(process.pid, Some(root));
        if kill_within(tree.processes(), is_its) {
            tree.thaw();
        }
    }
}

/// A root directory, by device and inode.
pub(crate) type Root = Place;

/// The directory that is the container's root.
pub(crate) fn root_of(bundle: &Path) -> Option<Root> {
    place(Spec::read(bundle).ok()?.root(bundle))
}

/// Whether one in a container's cgroups is the container's by the root that it has, or is runc on
/// its way into one.
pub(crate) fn is_of_root(pid: u32, root: Option<Root>) -> bool {
    let its = proc_files::root(pid);
    its.is_some() && its == root || is_runc(pid)
}

/// Whether it is runc, on its way into a container: it still has the node's root.
fn is_runc(pid: u32) -> bool {
    let named = proc_files::read(pid, "comm").ok().flatten();
    named.is_some_and(|name| name.starts_with(b"runc"))
        && proc_files::root(pid) == place("/proc/self/root")
}

/// A container's own cgroups, in every hierarchy: those of its first process that neither this
/// process nor the inner shim is in, and the one that its `config.json` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members(Vec<PathBuf>);

impl Members {
    /// `bundle` is its own, if it is there; `cgroups` are those of its first process, as
    /// `/proc/PID/cgroup` has them; empty where they are not known.
    #[must_use]
    pub fn of(bundle: Option<&Path>, cgroups: &str) -> Self {
        let own = paths(&of_process(std::process::id()));
        let mut all: Vec<PathBuf> = paths(cgroups)
            .into_iter()
            .filter(|path| !own.contains(path))
            .filter_map(|path| self::own(relative(&path)))
            .collect();
        all.extend(bundle.and_then(path_of).map(CgroupsPath::into_path));
        all.sort();
        all.dedup();
        Self(all)
    }

    /// Whether there are any: a container need not have a cgroup of its own.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// In each hierarchy, with who is in it. One that `lacre` is in is not the container's alone,
    /// and not among them.
    fn trees(&self) -> Vec<io::Result<(CgroupTree, Within)>> {
        let mut trees = Vec::new();
        for path in &self.0 {
            match places(path) {
                Ok(places) => trees.extend(places.iter().filter_map(|at| tree(at).transpose())),
                Err(error) => trees.push(Err(error)),
            }
        }
        trees
    }

    /// Who is in them now, those of which the kernel has yet to let go included.
    ///
    /// # Errors
    /// When one of them can't be read: then somebody may be in it.
    pub fn processes(&self) -> io::Result<Vec<Process>> {
        let mut all = Vec::new();
        for tree in self.trees() {
            let (_, within) = tree?;
            for process in looked_up(&within.all()?) {
                all.push(process?);
            }
        }
        Ok(all)
    }

    /// Kills who is in them and `is_own`, and thaws what a v1 freezer holds: a frozen process
    /// does not die of SIGKILL. Where somebody else is in them too nothing is thawed: they may be
    /// frozen for a reason. What can't be read keeps nobody else alive.
    pub fn kill(&self, is_own: impl Fn(&Process) -> bool) {
        let (mut trees, mut alone) = (Vec::new(), true);
        for found in self.trees() {
            let Ok((tree, within)) = found else {
                alone = false;
                continue;
            };
            alone &= kill_within(within, &is_own);
            trees.push(tree);
        }
        if alone {
            trees.iter().for_each(CgroupTree::thaw);
        }
    }
}

/// A cgroup with those beneath it, if it is there and this process is not in it.
fn tree(cgroup: &Path) -> io::Result<Option<(CgroupTree, Within)>> {
    let Some(tree) = CgroupTree::open(cgroup)? else { return Ok(None) };
    let within = tree.processes();
    Ok((!within.pids.contains(&std::process::id())).then_some((tree, within)))
}

/// Kills those of whom `is_own` says so; whether there is certainly nobody else.
fn kill_within(within: Within, is_own: impl Fn(&Process) -> bool) -> bool {
    let mut alone = within.missed.is_none();
    for process in looked_up(&within.pids) {
        match process {
            Ok(process) if is_own(&process) => drop(process.kill(Duration::ZERO)),
            _ => alone = false,
        }
    }
    alone
}

/// The processes that have these numbers. Nothing of one that has gone; an error where nobody can
/// tell.
fn looked_up(pids: &[u32]) -> impl Iterator<Item = io::Result<Process>> {
    pids.iter().filter_map(|pid| Process::look_up(*pid).transpose())
}

/// Whether cgroups, as `/proc/PID/cgroup` has them, are those of the container in `bundle`:
/// as its `config.json` says; or those of the inner shim itself, which runc leaves a
/// container in where it can make none.
#[must_use]
pub fn is_of(bundle: &Path, cgroups: &str, inner: Option<Process>) -> bool {
    let Some(expected) = path_of(bundle).map(CgroupsPath::into_path) else { return true };
    let shim = inner.map_or_else(std::process::id, |inner| inner.pid);
    let shims = paths(&of_process(shim));
    let (mut own, mut other) = (false, false);
    for path in paths(cgroups) {
        // A node that is a container itself has its own path before it.
        own |= Path::new(&path).ends_with(&expected);
        other |= !shims.contains(&path);
    }
    own || !other
}

/// The lines of cgroups, as `/proc/PID/cgroup` has them, that the inner shim is not in.
#[must_use]
pub fn without_those_of(cgroups: &str, inner: Option<Process>) -> String {
    let shim = inner.map_or_else(std::process::id, |inner| inner.pid);
    let shims = of_process(shim);
    let own = cgroups.lines().filter(|line| !shims.lines().any(|shims| shims == *line));
    own.map(|line| format!("{line}\n")).collect()
}

/// The cgroups of a process, as `/proc/PID/cgroup` has them; empty when it has gone.
fn of_process(pid: u32) -> String {
    let table = proc_files::read(pid, "cgroup").ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&table).into_owned()
}

/// Their paths.
fn paths(cgroups: &str) -> Vec<String> {
    let all = proc_pid::memberships(cgroups.as_bytes());
    all.map(|one| String::from_utf8_lossy(one.path).into_owned()).collect()
}

fn relative(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| !matches!(part, Component::RootDir)).collect()
}

/// What a container's `config.json` says of its cgroups: a path beneath the hierarchies.
#[derive(Debug, PartialEq, Eq)]
enum CgroupsPath {
    /// As it stands there.
    Plain(PathBuf),
    /// Of systemd's form, `slice:prefix:name`: a scope, which systemd removes.
    Scope(PathBuf),
}

impl CgroupsPath {
    fn into_path(self) -> PathBuf {
        match self {
            Self::Plain(path) | Self::Scope(path) => path,
        }
    }
}

fn path_of(bundle: &Path) -> Option<CgroupsPath> {
    let named = Spec::read(bundle).ok()?.cgroups_path?;
    if named.contains(':') {
        let mut parts = named.split(':');
        let scope = scope(parts.next()?, parts.next()?, parts.next()?)?;
        return parts.next().is_none().then_some(CgroupsPath::Scope(scope));
    }
    own(relative(&named)).map(CgroupsPath::Plain)
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
    places(path).unwrap_or_default()
}

fn places(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    let mut all: Vec<PathBuf> = hierarchies(&mounts).map(|mount| mount.join(path)).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// Where the cgroup hierarchies are mounted.
fn hierarchies(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    mountinfo::lines(table)
        .flatten()
        .filter(|mount| matches!(&mount.kind[..], b"cgroup" | b"cgroup2"))
        .map(|mount| OsString::from_vec(mount.point).into())
}

/// Removes a cgroup with those beneath it; whether it is gone.
fn remove(cgroup: &Path) -> bool {
    if let Ok(Some(tree)) = CgroupTree::open(cgroup) {
        tree.remove_beneath();
    }
    fs::remove_dir(cgroup).is_ok()
}

#[cfg(test)]
#[path = "cgroup/tests.rs"]
pub(crate) mod tests;
