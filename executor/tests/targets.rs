//! The right one is hit: an action reaches every process of its container, and no other that
//! is in the same cgroup, beneath it, or in the same pid namespace.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{COUNTS, Group, Host, act_as_helper, runs, runtime};
use lacre_executor::Target;
use lacre_integration::Version;
use lacre_integration::output::wait_for;
use lacre_integration::process::Process;
use lacre_types::Action;
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(10);

/// What a helper process runs of this program.
#[test]
fn helper() {
    act_as_helper();
}

/// It runs on: it is neither killed nor frozen.
fn counts(host: &Host, id: &str) -> Result<()> {
    let before = host.count(id);
    wait_for(format!("{id} running"), SOON, || Ok((host.count(id) > before).then_some(())))
}

/// Two containers, each with the cgroup that it was given, and what of `a` becomes of an action.
fn beside(name: &str, of_a: &str, of_b: &str, pause: bool) -> Result<()> {
    // Before the host, which ends what is in it.
    let top = Group::new(name);
    let host = Host::start(Version::V1_6)?;
    let top = &top.0;
    let (of_a, of_b) = (format!("{top}{of_a}"), format!("{top}{of_b}"));
    runtime().block_on(async {
        for action in [Action::Pause, Action::Kill, Action::Stop, Action::Delete] {
            let (a, b) =
                (format!("a-{action}").to_lowercase(), format!("b-{action}").to_lowercase());
            let (mut first, mut then) = ((&a, &of_a), (&b, &of_b));
            // A cgroup's devices can be set only while there are none beneath it.
            if of_a.len() > of_b.len() {
                std::mem::swap(&mut first, &mut then);
            }
            host.run(first.0, &["--cgroup", first.1], COUNTS)?;
            host.run(then.0, &["--cgroup", then.1], COUNTS)?;
            let executor = host.guard(&a)?;
            counts(&host, &a)?;
            counts(&host, &b)?;
            let pid = host.pid(&a)?;
            let outcome = executor.act(action, "").await;
            counts(&host, &b)?;
            if action == Action::Pause {
                assert_eq!(outcome.done, pause, "{outcome:?}");
                assert_eq!(executor.is_paused(), pause);
                assert!(
                    pause || outcome.detail.contains("not the container's alone"),
                    "{outcome:?}"
                );
                let outcome = executor.act(Action::Kill, "").await;
                assert!(outcome.done, "{outcome:?}");
                counts(&host, &b)?;
            } else {
                assert!(outcome.done, "{action}: {outcome:?}");
            }
            assert!(!runs(pid), "{action} has ended it");
            assert_eq!(host.daemon.status(&b)?.as_deref(), Some("RUNNING"));
            if action != Action::Delete {
                host.daemon.await_status(&a, Some("STOPPED"))?;
                host.daemon.ctr(&["tasks", "rm", &a])?.ok()?;
            }
            host.daemon.remove(&b)?;
        }
        Ok(())
    })
}

#[test]
fn two_containers_have_one_cgroup() -> Result<()> {
    beside("same", "", "", false)
}

#[test]
fn anothers_cgroup_is_beneath_its_own() -> Result<()> {
    beside("above", "", "/b", false)
}

/// Its end has yet to be known to containerd when its task is deleted: whoever helps with that
/// asks for no kill that reaches what is beneath its cgroup.
#[test]
fn its_end_is_not_yet_known_when_it_is_deleted() -> Result<()> {
    let top = Group::new("late");
    let host = Host::start(Version::V1_6)?;
    runtime().block_on(async {
        for round in 0..5 {
            let (a, b) = (format!("a-{round}"), format!("b-{round}"));
            host.run(&a, &["--cgroup", &top.0], COUNTS)?;
            host.run(&b, &["--cgroup", &format!("{}/b", top.0)], COUNTS)?;
            let executor = host.guard(&a)?;
            let pid = host.pid(&a)?;
            let shim = StandsStill::shim_of(pid)?;
            // The helper's call waits at the shim by then, or comes while that hears of the end.
            let goes_on = std::thread::spawn(move || {
                let ended = wait_for("its end", SOON, || Ok((!runs(pid)).then_some(())));
                drop(shim);
                ended
            });
            let outcome = executor.act(Action::Delete, "").await;
            goes_on.join().unwrap()?;
            assert!(outcome.done, "{outcome:?}");
            counts(&host, &b)?;
            host.daemon.remove(&b)?;
        }
        Ok(())
    })
}

#[test]
fn its_cgroup_is_beneath_anothers() -> Result<()> {
    beside("beneath", "/a", "", true)
}

/// `--pid container:`, shareProcessNamespace: its init is not the first of its pid namespace.
#[test]
fn its_pid_namespace_is_anothers() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    host.run("owner", &[], COUNTS)?;
    let joins = format!("pid:/proc/{}/ns/pid", host.pid("owner")?);
    // Orphans of sessions of their own, whose new parent is the owner's init.
    let script = "(setsid sh -c 'while :; do sleep 1 & usleep 2000; done' &) ; while :; do echo b; usleep 1000; done";
    for whose in ["own", "the owner"] {
        let cgroup = format!("/{}/owner", host.daemon.namespace());
        let (id, options) =
            (format!("joins-{}", whose.len()), ["--with-ns", &joins, "--cgroup", &cgroup]);
        host.run(&id, &options[..if whose == "own" { 2 } else { 4 }], script)?;
        counts(&host, &id)?;
        runtime().block_on(async {
            let executor = host.guard(&id)?;
            let mounts = Mounts::of(host.pid(&id)?)?;
            let shim = StandsStill::shim_of(host.pid(&id)?)?;
            let outcome = executor.act(Action::Kill, "").await;
            assert!(outcome.done, "{outcome:?}");
            counts(&host, "owner")?;
            assert_eq!(mounts.processes(), Vec::<u32>::new(), "nobody of it is left");
            drop(shim);
            host.daemon.await_status(&id, Some("STOPPED"))?;
            host.daemon.ctr(&["tasks", "rm", &id])?.ok()
        })?;
    }
    Ok(())
}

/// With the node's pid namespace, and another container in the cgroup.
#[test]
fn its_pid_namespace_is_the_nodes() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    let script =
        "setsid sh -c 'while :; do sleep 1 & sleep 0.01; done' & while :; do sleep 1; done";
    host.run_in_host_pids("node", script)?;
    let cgroup = format!("/{}/node", host.daemon.namespace());
    host.run("beside", &["--cgroup", &cgroup], COUNTS)?;
    counts(&host, "beside").context("before")?;
    runtime().block_on(async {
        let executor = host.guard("node")?;
        let mounts = Mounts::of(host.pid("node")?)?;
        let outcome = executor.act(Action::Pause, "").await;
        assert!(!outcome.done, "{outcome:?}");
        counts(&host, "beside").context("after PAUSE")?;
        let shim = StandsStill::shim_of(host.pid("node")?)?;
        let outcome = executor.act(Action::Kill, "").await;
        counts(&host, "beside").context("after KILL")?;
        assert!(outcome.done, "{outcome:?}");
        assert_eq!(mounts.processes(), Vec::<u32>::new(), "nobody of it is left");
        drop(shim);
        host.daemon.await_status("node", Some("STOPPED"))
    })
}

/// A process of the node that somebody put into the container's cgroup.
#[test]
fn a_process_of_the_node_is_in_its_cgroup() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    for (id, action) in [("paused", Action::Pause), ("killed", Action::Kill)] {
        host.run(id, &[], COUNTS)?;
        let mut child = Command::new("sleep").arg("1000").spawn()?;
        fs::write(freezer_of(host.pid(id)?)?.join("cgroup.procs"), child.id().to_string())?;
        runtime().block_on(async {
            let outcome = host.guard(id)?.act(action, "").await;
            assert_eq!(outcome.done, action == Action::Kill, "{outcome:?}");
            anyhow::Ok(())
        })?;
        assert!(child.try_wait()?.is_none(), "{action} is not for it");
        let state = fs::read_to_string(freezer_of(child.id())?.join("freezer.state"))?;
        assert_eq!(state.trim(), "THAWED");
        child.kill()?;
        child.wait()?;
        host.daemon.remove(id)?;
    }
    Ok(())
}

/// A process in a mount namespace of its own.
struct Apart(Child);

impl Apart {
    fn start(script: &str) -> Result<Self> {
        let apart = Self(
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        );
        let own = fs::read_link("/proc/self/ns/mnt")?;
        wait_for("it is apart", SOON, || {
            Ok(namespace(apart.pid(), "mnt").is_ok_and(|its| its != own).then_some(()))
        })?;
        Ok(apart)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// One that the kernel has given the number of a mount namespace that has ended.
    fn of_number(mounts: &Path) -> Result<Self> {
        // The lowest number that is free is the next; who has lower ones keeps them.
        let mut others = Vec::new();
        for _ in 0..200 {
            let apart = Self::start("exec sleep 1000")?;
            if namespace(apart.pid(), "mnt")? == mounts {
                return Ok(apart);
            }
            others.push(apart);
        }
        anyhow::bail!("{} is nobody's", mounts.display())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills what is left of a container that has ended by itself, or has left its namespace, and
/// of whose mount namespace another process has the number by now.
fn has_its_number(script: &str, end: impl FnOnce(&mut Apart, &Path) -> Result<()>) -> Result<()> {
    let mut container = Apart::start(script)?;
    let mounts = namespace(container.pid(), "mnt")?;
    let target = Target::hold(container.pid())?;
    assert_eq!(target.processes(), [container.pid()]);
    end(&mut container, &mounts)?;
    let innocent = Apart::of_number(&mounts)?;
    assert!(!target.processes().contains(&innocent.pid()));
    assert!(target.kill().left.is_empty());
    assert!(runs(innocent.pid()), "another's process is hit");
    Ok(())
}

/// Whose a process is, no number tells that the kernel may have given to another since.
#[test]
fn another_has_the_number_of_its_ended_mount_namespace() -> Result<()> {
    has_its_number("exec sleep 1000", |container, _| {
        container.0.kill()?;
        container.0.wait()?;
        Ok(())
    })
}

#[test]
fn another_has_the_number_of_a_mount_namespace_that_its_init_has_left() -> Result<()> {
    has_its_number("read go; exec unshare --mount sleep 1000", |container, mounts| {
        drop(container.0.stdin.take());
        wait_for("it has left", SOON, || {
            Ok(namespace(container.pid(), "mnt").is_ok_and(|its| its != mounts).then_some(()))
        })
    })
}

/// It has nothing in common with the init but the mount namespace, and the init ends first.
#[test]
fn who_is_only_in_its_mount_namespace_is_killed_with_it() -> Result<()> {
    let container = Apart::start("setsid sh -c 'while :; do sleep 1; done' & exec sleep 1000")?;
    let mounts = Mounts::of(container.pid())?;
    let target = Target::hold(container.pid())?;
    wait_for("both run", SOON, || Ok((target.processes().len() >= 3).then_some(())))?;
    assert!(target.kill().left.is_empty());
    assert_eq!(mounts.processes(), Vec::<u32>::new());
    Ok(())
}

/// The inner shim of a container, which stands still for as long as is looked at what lacre
/// does: runc's itself kills whoever is in the cgroup once an init that has no pid namespace of
/// its own has ended.
struct StandsStill(Process);

impl StandsStill {
    fn shim_of(init: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{init}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let shim = line.context("a parent")?.trim().parse()?;
        let shim = Process::by_pid(shim).context("the shim")?;
        shim.signal(Signal::SIGSTOP);
        Ok(Self(shim))
    }
}

impl Drop for StandsStill {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

/// A mount namespace, held, so that its number does not become another container's.
struct Mounts {
    number: PathBuf,
    _held: File,
}

impl Mounts {
    fn of(pid: u32) -> Result<Self> {
        let _held = File::open(format!("/proc/{pid}/ns/mnt"))?;
        Ok(Self { number: namespace(pid, "mnt")?, _held })
    }

    /// Who runs in it.
    fn processes(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| namespace(*pid, "mnt").is_ok_and(|its| its == self.number))
            .filter(|pid| runs(*pid))
            .collect()
    }
}

fn namespace(pid: u32, kind: &str) -> Result<PathBuf> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
}

fn freezer_of(pid: u32) -> Result<PathBuf> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = cgroups.lines().find_map(|line| Some(line.split_once(":freezer:/")?.1));
    Ok(Path::new("/sys/fs/cgroup/freezer").join(path.context("a v1 freezer")?))
}
