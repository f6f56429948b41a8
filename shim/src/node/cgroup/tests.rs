//! Paths of cgroups, and real ones that are frozen, nested, threaded and shared.

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

#[test]
fn a_hierarchy_is_found_where_a_space_is_in_its_path() {
    let line = b"31 23 0:27 / /mnt/my\\040cgroups rw - cgroup2 none rw\n";
    assert_eq!(hierarchies(line).collect::<Vec<_>>(), [PathBuf::from("/mnt/my cgroups")]);
}

/// A process in a cgroup of its own, which goes with this.
pub(crate) struct InCgroup(PathBuf, u32);

impl InCgroup {
    pub(crate) fn new(name: &str, pid: u32) -> Self {
        let name = format!("lacre-shim-{name}-{}", std::process::id());
        let cgroup = pids().join(name);
        fs::create_dir_all(&cgroup).unwrap();
        fs::write(cgroup.join("cgroup.procs"), pid.to_string()).unwrap();
        Self(cgroup, pid)
    }

    /// Puts another process in.
    pub(crate) fn take_in(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// How many threads may be in it.
    pub(crate) fn limit(&self, threads: Option<usize>) {
        let most = threads.map_or("max".to_owned(), |threads| threads.to_string());
        fs::write(self.0.join("pids.max"), most).unwrap();
    }

    /// As `config.json` would name it.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.0.file_name().unwrap().to_str().unwrap())
    }
}

impl Drop for InCgroup {
    fn drop(&mut self) {
        let _ = fs::write(pids().join("cgroup.procs"), self.1.to_string());
        let _ = fs::remove_dir(&self.0);
    }
}

fn pids() -> PathBuf {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let mut hierarchies = hierarchies(&mounts);
    hierarchies.find(|mount| mount.ends_with("pids") || mount.ends_with("cgroup")).unwrap()
}

#[test]
fn members_are_those_of_the_containers_own_cgroups() {
    let (dir, _cgroup, mut child) = slept_in("members", "1000");
    let text = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    // By what the process shows, and by what config.json says.
    let both = [Members::of(None, &text), Members::of(Some(dir.path()), "")];
    for members in &both {
        let pids: Vec<_> = members.processes().unwrap().iter().map(|p| p.pid).collect();
        assert_eq!(pids, [child.id()], "{members:?}");
    }
    let ours = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(!Members::of(None, &ours).any(), "nobody of ours is a member");
    both[1].kill(|_| true);
    child.wait().unwrap();
    assert_eq!(both[0].processes().unwrap(), []);
    remove_empty(dir.path());
}

/// A bundle whose cgroup has one beneath it, in which `sleep` runs for so long.
fn slept_in(name: &str, span: &str) -> (tempfile::TempDir, PathBuf, std::process::Child) {
    let name = format!("lacre-shim-{name}-{}", std::process::id());
    let cgroup = pids().join(&name);
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

/// A cgroup of cgroup2 with one beneath it in which a process sleeps, which go with this.
struct Unified {
    bundle: tempfile::TempDir,
    cgroup: PathBuf,
    child: std::process::Child,
}

impl Unified {
    fn new(name: &str, beneath: impl FnOnce(&Path) -> rustix::fd::OwnedFd) -> Self {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        let is_unified = |mount: &mountinfo::Mount| mount.kind == b"cgroup2";
        let mount = mountinfo::lines(&mounts).flatten().find(is_unified).unwrap();
        let name = format!("lacre-shim-{name}-{}", std::process::id());
        let cgroup = PathBuf::from(OsString::from_vec(mount.point)).join(&name);
        fs::create_dir(&cgroup).unwrap();
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        let own = Self { bundle: bundle(&format!("/{name}")), cgroup, child };
        let deep = beneath(&own.cgroup);
        put(&deep, "cgroup.threads", &own.child.id().to_string());
        own
    }

    fn members(&self) -> Members {
        Members::of(Some(self.bundle.path()), "")
    }
}

impl Drop for Unified {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let until = Instant::now() + Duration::from_secs(5);
        while !remove(&self.cgroup) && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

fn put(cgroup: &rustix::fd::OwnedFd, file: &str, text: &str) {
    use rustix::fs::{Mode, OFlags, openat};
    let file = openat(cgroup, file, OFlags::WRONLY, Mode::empty()).unwrap();
    rustix::io::write(file, text.as_bytes()).unwrap();
}

fn open(path: &Path) -> rustix::fd::OwnedFd {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// A threaded cgroup names no process: the kernel answers EOPNOTSUPP.
fn threaded(cgroup: &Path) -> rustix::fd::OwnedFd {
    let inner = cgroup.join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("cgroup.type"), "threaded").unwrap();
    assert!(fs::read_to_string(inner.join("cgroup.procs")).is_err());
    open(&inner)
}

/// One of a path that is longer than any that the kernel takes (`PATH_MAX`).
fn too_deep(cgroup: &Path) -> rustix::fd::OwnedFd {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let name = "n".repeat(200);
    (0..40).fold(open(cgroup), |above, _| {
        mkdirat(&above, &name, Mode::RWXU).unwrap();
        openat(&above, &name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    })
}

#[test]
fn what_a_container_makes_of_its_cgroups_hides_nobody() {
    for (name, beneath) in [
        ("threaded", threaded as fn(&Path) -> rustix::fd::OwnedFd),
        ("deep", |cgroup| {
            let deep = too_deep(cgroup);
            // With its process, whose threads alone go where it is threaded.
            let pids = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
            put(&deep, "cgroup.procs", pids.trim());
            deep
        }),
    ] {
        let mut unified = Unified::new(name, beneath);
        let members = unified.members();
        let found = members.processes().unwrap();
        assert!(found.iter().any(|process| process.pid == unified.child.id()), "{name}: {found:?}");
        members.kill(|_| true);
        unified.child.wait().unwrap();
        assert_eq!(members.processes().unwrap(), [], "{name}");
        let cgroup = unified.cgroup.clone();
        drop(unified);
        assert!(!cgroup.exists(), "{name}");
    }
}
