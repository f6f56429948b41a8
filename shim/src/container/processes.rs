//! The processes of a container: who of it is left, and that nobody is.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lacre_executor::Target;
use lacre_measure::exec_trace;
use lacre_types::Mode;

use super::bundle;
use super::charter::Head;
use crate::node::cgroup::{self, Members, Root};
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::Process;

/// How long to wait for one process, before all are looked for again.
const LOOK: Duration = Duration::from_millis(200);
/// How long a container that is killed may take before it is merely waited for.
const KILLING: Duration = Duration::from_secs(5);
/// Between two looks at who is there and has ended, for the kernel to let go of them.
const MOMENT: Duration = Duration::from_millis(2);

/// There is no process of a container any more, and there will be none: who has seen it.
/// Nothing is disarmed without one. Only [`Processes`]
/// makes one, and what was never created has none.
#[derive(Debug)]
pub(crate) struct NoProcess(());

impl NoProcess {
    /// Of a container that the inner shim has not created: nothing was armed.
    pub(crate) const fn of_none() -> Self {
        Self(())
    }
}

/// By what those in a container's cgroups are its own: another container may be in them too.
#[derive(Debug, Clone, Copy)]
enum Theirs {
    /// By their pid namespace.
    Namespace(PidNamespace),
    /// Nothing tells them apart.
    All,
    /// By the container's root, since its first process is not known: it has none yet, or none any
    /// more. Who is in another root then is another's.
    Root(Option<Root>),
}

impl Theirs {
    fn of(head: &Head, bundle: Option<&Path>) -> Self {
        match (head.pid_namespace, head.init) {
            (Some(namespace), _) => Self::Namespace(namespace),
            (None, Some(_)) => Self::All,
            (None, None) => Self::Root(bundle.and_then(cgroup::root_of)),
        }
    }
}

/// The processes of a container: its first, all in its cgroups, and, where it is held back,
/// all that carry its number in the kernel, wherever they went: its first process's end is not
/// theirs where they share another's pid namespace.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    init: Option<Process>,
    members: Members,
    theirs: Theirs,
    /// Under which name `exec-trace` knows it.
    trace: Option<String>,
    killing: Arc<AtomicBool>,
}

impl Processes {
    /// By what is written down of it.
    pub(crate) fn of(head: &Head, mode: Mode) -> Self {
        let is_anothers = bundle::is_anothers(&head.bundle, &head.generation, &head.guard);
        let bundle = (!is_anothers).then_some(&*head.bundle);
        Self {
            init: head.init,
            members: Members::of(bundle, &head.cgroups),
            theirs: Theirs::of(head, bundle),
            trace: (mode == Mode::Enforce).then(|| head.generation.to_string()),
            killing: Arc::default(),
        }
    }

    /// Those that have not ended.
    ///
    /// # Errors
    /// When nobody can tell who they are: that is not nobody.
    pub(crate) fn left(&self) -> io::Result<Vec<Process>> {
        let mut all = self.members.processes()?;
        all.retain(|process| self.is_own(process));
        all.extend(self.init);
        for pid in self.trace.as_deref().map_or(Ok(Vec::new()), traced)? {
            all.extend(Process::look_up(pid)?);
        }
        all.sort_by_key(|process| process.pid);
        all.dedup();
        all.retain(|process| process.is_alive());
        Ok(all)
    }

    /// Whether one in its cgroups is its own: they may be another container's too.
    fn is_own(&self, process: &Process) -> bool {
        match &self.theirs {
            Theirs::Namespace(namespace) => {
                namespace.has(process.pid, self.init.is_some_and(Process::is_alive))
            }
            Theirs::All => true,
            Theirs::Root(root) => cgroup::is_of_root(process.pid, *root),
        }
    }

    /// Kills those in its cgroups now, and all for as long as somebody waits for their end.
    pub(crate) fn kill(&self) {
        self.kill_within(KILLING);
    }

    /// The same, with so much time.
    fn kill_within(&self, patience: Duration) {
        self.killing.store(true, Ordering::Relaxed);
        // Whatever froze it, and wherever its processes went; what it leaves is waited for.
        let target = self.init.filter(|init| init.is_alive());
        if let Some(target) = target.and_then(|init| Target::hold(init.pid).ok()) {
            let _ = target.kill_within(patience);
        }
        self.kill_members();
    }

    /// Kills those that are known, and waits for nobody.
    fn strike(&self) {
        self.killing.store(true, Ordering::Relaxed);
        if let Some(init) = self.init {
            let _ = init.kill(Duration::ZERO);
        }
        self.kill_members();
    }

    fn kill_members(&self) {
        self.members.kill(|process| self.is_own(process));
    }

    /// Waits until none is left; `None` when that takes longer.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<NoProcess> {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = self.left();
            if left.as_ref().is_ok_and(Vec::is_empty) {
                return Some(NoProcess(()));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            let known = left.as_deref().unwrap_or_default();
            if self.killing.load(Ordering::Relaxed) {
                for process in known {
                    let _ = process.kill(Duration::ZERO);
                }
                self.kill_members();
            }
            match known.first() {
                Some(first) => {
                    if !first.wait(LOOK) && self.killing.load(Ordering::Relaxed) {
                        // A freezer may hold it that is not the container's.
                        for process in known {
                            if let Ok(Some(pidfd)) = process.open() {
                                lacre_executor::release_killed(process.pid, pidfd);
                            }
                        }
                    }
                    thread::sleep(MOMENT);
                }
                // Nobody can tell now; with a descriptor free again somebody may.
                None => thread::sleep(LOOK),
            }
        }
    }
}

/// Kills all of these containers, and waits until none of any is left; `None` for one of which
/// some are when the time is over. That is one time for all of them, and they are killed at the
/// same time: who does not end keeps no other waiting.
pub(crate) fn end_all(all: &[Processes], limit: Duration) -> Vec<Option<NoProcess>> {
    let until = Instant::now() + limit;
    let left = || until.saturating_duration_since(Instant::now());
    let end = |processes: &Processes| {
        processes.kill_within(left());
        processes.wait(Some(left()))
    };
    thread::scope(|scope| {
        let end = &end;
        let begin = |processes| {
            let begun = thread::Builder::new().spawn_scoped(scope, move || end(processes));
            // Without a thread none waits for it alone: it is struck now, and again while its
            // end is waited for below.
            begun.inspect_err(|_| processes.strike()).map_err(|_| processes)
        };
        let begun: Vec<_> = all.iter().map(begin).collect();
        let ended = begun.into_iter().map(|begun| match begun {
            Ok(thread) => thread.join().ok().flatten(),
            Err(processes) => processes.wait(Some(left())),
        });
        ended.collect()
    })
}

fn traced(name: &str) -> io::Result<Vec<u32>> {
    exec_trace::members(&exec_trace::Options::default().folder, name)
}

#[cfg(test)]
mod tests {
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
}
