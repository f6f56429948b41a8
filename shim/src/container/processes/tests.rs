use super::*;
use crate::container::generation::Generation;
use crate::node::cgroup::tests::InCgroup;
use std::process::{Child, Command};

struct Rig {
    _bundle: tempfile::TempDir,
    head: Head,
}

fn rig(cgroup: Option<&InCgroup>) -> Rig {
    let bundle = tempfile::tempdir().unwrap();
    if let Some(cgroup) = cgroup {
        let spec = serde_json::json!({
            "root": {"path": "/"}, "linux": {"cgroupsPath": cgroup.path()},
        });
        std::fs::write(bundle.path().join("config.json"), spec.to_string()).unwrap();
    }
    let generation = Generation::draw().unwrap();
    bundle::note_create(bundle.path(), &generation).unwrap();
    let head = Head::new(generation, "n", "c", bundle.path(), Path::new("/run/s/0a"));
    Rig { _bundle: bundle, head }
}

fn sleeps() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

#[test]
fn nobody_is_gone_before_the_last_has_gone() {
    let (mut init, mut other) = (sleeps(), sleeps());
    let cgroup = InCgroup::new("end", other.id());
    let mut rig = rig(Some(&cgroup));
    rig.head.init = Process::by_pid(init.id());
    let processes = Processes::of(&rig.head, Mode::Audit);
    assert_eq!(processes.left().unwrap().len(), 2);
    init.kill().unwrap();
    init.wait().unwrap();
    // Its first process's end is not the others'.
    assert!(processes.wait(Some(Duration::ZERO)).is_none());
    let waits = {
        let processes = processes.clone();
        std::thread::spawn(move || processes.wait(None).is_some())
    };
    processes.kill();
    other.wait().unwrap();
    assert!(waits.join().unwrap());
}

/// Its id came again, and its bundle's path with it.
#[test]
fn who_is_in_the_cgroups_of_another_generation_is_let_alone() {
    let mut neighbour = sleeps();
    let cgroup = InCgroup::new("again", neighbour.id());
    let rig = rig(Some(&cgroup));
    bundle::note_create(&rig.head.bundle, &Generation::draw().unwrap()).unwrap();
    let processes = Processes::of(&rig.head, Mode::Audit);
    assert_eq!(processes.left().unwrap(), []);
    processes.kill();
    assert!(neighbour.try_wait().unwrap().is_none());
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}

/// Its charter was removed in good order, and so was its first process known last.
#[test]
fn who_is_in_the_cgroup_of_one_that_is_gone_is_its_own_by_the_root() {
    let (mut its, mut neighbour) = (sleeps(), sleeps());
    let cgroup = InCgroup::new("shared", its.id());
    let rig = rig(Some(&cgroup));
    let processes = Processes::of(&rig.head, Mode::Audit);
    assert_eq!(processes.left().unwrap(), [Process::by_pid(its.id()).unwrap()]);

    cgroup.take_in(neighbour.id());
    let root = rig.head.bundle.join("rootfs");
    std::fs::create_dir(&root).unwrap();
    let spec = serde_json::json!({
        "root": {"path": "rootfs"}, "linux": {"cgroupsPath": cgroup.path()},
    });
    std::fs::write(rig.head.bundle.join("config.json"), spec.to_string()).unwrap();
    let processes = Processes::of(&rig.head, Mode::Audit);
    assert_eq!(processes.left().unwrap(), []);
    processes.kill();
    assert!(processes.wait(Some(Duration::ZERO)).is_some());
    for child in [&mut its, &mut neighbour] {
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Set where this test runs itself again, with as few descriptors as it likes.
const AGAIN: &str = "LACRE_TEST_WITHOUT_DESCRIPTORS";

#[test]
fn without_a_descriptor_nobody_is_taken_for_gone() {
    if std::env::var_os(AGAIN).is_none() {
        let name = "container::processes::tests::without_a_descriptor_nobody_is_taken_for_gone";
        let mut again = Command::new(std::env::current_exe().unwrap());
        let again = again.args(["--exact", name, "--test-threads=1"]).env(AGAIN, "1");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let mut child = sleeps();
    let cgroup = InCgroup::new("none", child.id());
    let (by_cgroup, mut by_init) = (rig(Some(&cgroup)), rig(None));
    by_init.head.init = Process::by_pid(child.id());
    let all = [&by_cgroup, &by_init].map(|rig| Processes::of(&rig.head, Mode::Enforce));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let set = |current| {
        let limit = rustix::process::Rlimit { current: Some(current), ..limit };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    };
    set(0);
    let gone = all.each_ref().map(|processes| processes.wait(Some(Duration::ZERO)).is_some());
    let lives = by_init.head.init.unwrap().is_alive();
    set(limit.current.unwrap());
    assert_eq!((gone, lives), ([false; 2], true));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(all.iter().all(|processes| processes.wait(Some(Duration::ZERO)).is_some()));
}

/// Where a v1 freezer is mounted.
fn freezer() -> Option<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_freezer = |line: &&str| line.ends_with("freezer") && line.contains(" - cgroup ");
    mounts.lines().find(is_freezer)?.split(' ').nth(4).map(Into::into)
}

/// A frozen cgroup of the v1 freezer with two processes, which go with this.
struct Frozen {
    cgroup: std::path::PathBuf,
    children: [Child; 2],
}

impl Frozen {
    fn new(freezer: &Path) -> Self {
        let cgroup = freezer.join(format!("lacre-shim-elsewhere-{}", std::process::id()));
        std::fs::create_dir(&cgroup).unwrap();
        let own = Self { cgroup, children: [sleeps(), sleeps()] };
        for child in &own.children {
            own.put("cgroup.procs", &child.id().to_string()).unwrap();
        }
        own.put("freezer.state", "FROZEN").unwrap();
        own
    }

    fn put(&self, file: &str, text: &str) -> io::Result<()> {
        std::fs::write(self.cgroup.join(file), text)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.put("freezer.state", "THAWED");
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir(&self.cgroup);
    }
}

/// One that was moved into a freezer of somebody else's does not die of SIGKILL there.
#[test]
fn who_is_frozen_outside_the_containers_cgroups_goes_and_nobody_is_thawed() {
    let Some(freezer) = freezer() else {
        let what = "a process in somebody else's freezer";
        return lacre_integration::not_run(what, "no v1 freezer is mounted").unwrap();
    };
    let mut frozen = Frozen::new(&freezer);
    let cgroup = InCgroup::new("frozen", frozen.children[0].id());
    let rig = rig(Some(&cgroup));
    let processes = Processes::of(&rig.head, Mode::Audit);
    processes.kill();
    let gone = processes.wait(Some(Duration::from_secs(10)));
    let state = std::fs::read_to_string(frozen.cgroup.join("freezer.state")).unwrap();
    let neighbour = &mut frozen.children[1];
    assert!(gone.is_some() && neighbour.try_wait().unwrap().is_none());
    assert_eq!(state.trim(), "FROZEN");
}

#[test]
fn one_that_has_ended_and_waits_to_be_reaped_is_gone() {
    let mut rig = rig(None);
    let mut init = sleeps();
    rig.head.init = Process::by_pid(init.id());
    let processes = Processes::of(&rig.head, Mode::Audit);
    assert!(processes.wait(Some(Duration::ZERO)).is_none());
    init.kill().unwrap();
    assert!(processes.wait(Some(Duration::from_secs(10))).is_some());
    init.wait().unwrap();
}
