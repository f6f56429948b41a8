//! The freezer and `cgroup.kill` of cgroup v2, on a cgroup made for it.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::{Hangs, runs, runtime};
use lacre_executor::{Cgroup, Container, Executor, Later, Manager, Runtime, Settings, State};
use lacre_integration::output::wait_for;
use lacre_integration::paths::cached;
use lacre_types::{Action, mountinfo};

/// A cgroup with processes in it and in one beneath it.
struct Group {
    path: PathBuf,
    children: Vec<Child>,
}

impl Group {
    fn start(name: &str) -> Result<Self> {
        let mounts = mountinfo::parse(&fs::read("/proc/self/mountinfo")?)?;
        let mount = mounts.into_iter().find(|mount| mount.kind == b"cgroup2");
        let point = mount.context("no cgroup2")?.point;
        let path = PathBuf::from(OsString::from_vec(point))
            .join(format!("lacre-test-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("beneath"))?;
        let mut group = Self { path, children: Vec::new() };
        for place in ["", "beneath"] {
            let script = "read go; while :; do :; done & while :; do sleep 0.01; done";
            let mut child = Command::new(cached("tools/bin/busybox")?)
                .args(["sh", "-c", script])
                .stdin(Stdio::piped())
                .spawn()?;
            fs::write(group.path.join(place).join("cgroup.procs"), child.id().to_string())?;
            drop(child.stdin.take());
            group.children.push(child);
        }
        let forked = || Ok((group.pids()?.len() >= 4).then_some(()));
        wait_for("the scripts forking", Duration::from_secs(10), forked)?;
        Ok(group)
    }

    fn executor(&self) -> Result<Executor> {
        let container = Container {
            namespace: "test".into(),
            id: "v2".into(),
            generation: "a1".into(),
            init_pid: self.children[0].id(),
            address: "/nonexistent".into(),
            manager: Manager::Containerd,
        };
        Ok(Executor::start(container, Settings::default(), Arc::new(Hangs))?)
    }

    fn pids(&self) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for place in ["", "beneath"] {
            let text = fs::read_to_string(self.path.join(place).join("cgroup.procs"))?;
            all.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
        Ok(all)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for child in &mut self.children {
            let _ = child.wait();
        }
        // A killed grandchild leaves its cgroup when it is reaped.
        let deadline = Instant::now() + Duration::from_secs(5);
        for place in ["beneath", ""] {
            while fs::remove_dir(self.path.join(place)).is_err() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn pause_resume_kill() -> Result<()> {
    let group = Group::start("actions")?;
    runtime().block_on(async {
        let executor = group.executor()?;
        let events = || fs::read_to_string(group.path.join("cgroup.events"));
        let outcome = executor.act(Action::Pause, "").await;
        assert!(outcome.done && outcome.detail == "frozen", "{outcome:?}");
        // A signal that was under way takes a task out of the freezer for a moment.
        let frozen = || Ok(events()?.contains("frozen 1").then_some(()));
        wait_for("the kernel holding it", Duration::from_secs(5), frozen)?;
        assert!(executor.is_paused());
        assert!(executor.resume().await?);
        assert!(!executor.is_paused());
        let thawed = || Ok(events()?.contains("frozen 0").then_some(()));
        wait_for("the kernel thawing it", Duration::from_secs(5), thawed)?;

        executor.act(Action::Pause, "").await;
        let pids = group.pids()?;
        let outcome = executor.act(Action::Kill, "").await;
        assert!(outcome.done && outcome.detail == "killed", "{outcome:?}");
        assert!(pids.iter().all(|&pid| !runs(pid)), "{pids:?}");
        anyhow::Ok(())
    })
}

#[test]
fn pausing_is_quick() -> Result<()> {
    const ROUNDS: usize = 300;
    let group = Group::start("quick")?;
    runtime().block_on(async {
        let executor = group.executor()?;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let outcome = executor.act(Action::Pause, "").await;
            assert!(outcome.done, "{outcome:?}");
            took.push(outcome.took);
            executor.resume().await?;
        }
        took.sort();
        println!("PAUSE on v2: p50 {:?}, p99 {:?}", took[ROUNDS / 2], took[ROUNDS * 99 / 100]);
        assert!(took[ROUNDS / 2] < Duration::from_millis(5), "{took:?}");
        anyhow::Ok(())
    })
}

/// A cgroup that is gone, and one of the same name that came after it.
#[test]
fn a_later_cgroup_of_the_same_name_is_left_alone() -> Result<()> {
    let first = Group::start("again")?;
    runtime().block_on(async {
        let executor = first.executor()?;
        drop(first);
        let second = Group::start("again")?;
        let outcome = executor.act(Action::Pause, "").await;
        assert!(outcome.done && outcome.detail.contains("is gone"), "{outcome:?}");
        executor.act(Action::Kill, "").await;
        // The scripts, since each `sleep` that they wait for ends by itself.
        assert!(second.children.iter().all(|script| runs(script.id())));
        assert!(fs::read_to_string(second.path.join("cgroup.events"))?.contains("frozen 0"));
        anyhow::Ok(())
    })
}

#[test]
fn a_process_of_the_nodes_own_cgroup_is_refused() -> Result<()> {
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    let refused = Cgroup::of(child.id());
    child.kill()?;
    child.wait()?;
    assert!(refused.is_err_and(|error| error.to_string().contains("cgroup of its own")));
    Ok(())
}

/// Kills by another way than the kernel's, and says so.
struct Kills(u32);

impl Runtime for Kills {
    fn kill(&self, signal: u32, all: bool) -> Later<'_, ()> {
        assert_eq!((signal, all), (9, true));
        let _ = Command::new("kill").args(["-9", &self.0.to_string()]).status();
        Box::pin(async { Ok(()) })
    }
    fn pids(&self) -> Later<'_, Vec<u32>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn state(&self) -> Later<'_, State> {
        Box::pin(async { Ok(State::Stopped) })
    }
    fn resume(&self) -> Later<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    fn wait_exit(&self) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// A threaded cgroup beneath it names no process; those who are in the container are known all
/// the same.
#[test]
fn a_threaded_cgroup_beneath_hides_nobody() -> Result<()> {
    let group = Group::start("threaded")?;
    let pids = group.pids()?;
    for pid in &pids {
        fs::write(group.path.join("cgroup.procs"), pid.to_string())?;
    }
    let beneath = group.path.join("beneath");
    fs::write(beneath.join("cgroup.type"), "threaded")?;
    let hidden = fs::read_to_string(beneath.join("cgroup.procs"));
    assert!(hidden.is_err(), "the kernel names them: {hidden:?}");
    runtime().block_on(async {
        let outcome = group.executor()?.act(Action::Kill, "").await;
        assert!(outcome.done && outcome.detail == "killed", "{outcome:?}");
        assert!(pids.iter().all(|&pid| !runs(pid)), "{pids:?}");
        anyhow::Ok(())
    })
}

/// A container in the node's own cgroup and pid namespace: of its processes the kernel can
/// only tell the init, so its death alone is not "killed".
#[test]
fn what_the_kernel_cannot_vouch_for_the_inner_shim_must() -> Result<()> {
    let start = |runtime: fn(u32) -> Arc<dyn Runtime>| {
        let child = Command::new("sleep").arg("1000").spawn()?;
        let container = Container {
            namespace: "test".into(),
            id: "bare".into(),
            generation: "a1".into(),
            init_pid: child.id(),
            address: "/nonexistent".into(),
            manager: Manager::Containerd,
        };
        let runtime = runtime(child.id());
        anyhow::Ok((child, Executor::start(container, Settings::default(), runtime)?))
    };
    runtime().block_on(async {
        let (mut child, executor) = start(|pid| Arc::new(Kills(pid)))?;
        let outcome = executor.act(Action::Pause, "").await;
        assert!(!outcome.done && outcome.detail.contains("cgroup of its own"), "{outcome:?}");
        let outcome = executor.act(Action::Kill, "").await;
        assert!(outcome.done && outcome.detail == "killed, by the inner shim", "{outcome:?}");
        child.wait()?;

        let (mut child, executor) = start(|_| Arc::new(Hangs))?;
        let outcome = executor.act(Action::Kill, "").await;
        assert!(!outcome.done && outcome.detail.contains("others may live"), "{outcome:?}");
        assert!(outcome.detail.contains("it hangs"), "{outcome:?}");
        child.wait()?;
        Ok(())
    })
}
