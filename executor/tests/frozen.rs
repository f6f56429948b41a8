//! Nothing stays frozen: whoever froze what, once an end was decided the task can be deleted.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use common::{COUNTS, Group, Host, runtime};
use lacre_executor::{Container, Executor, Later, Manager, RuntimeError, State};
use lacre_integration::Version;
use lacre_types::Action;

/// How long KILL may take, at the worst: what its outcome has as its limit.
const LIMIT: Duration = Duration::from_secs(5);

fn freezer_of(host: &Host, id: &str) -> Result<PathBuf> {
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", host.pid(id)?))?;
    let path = cgroups.lines().find_map(|line| Some(line.split_once(":freezer:/")?.1));
    Ok(Path::new("/sys/fs/cgroup/freezer").join(path.context("a v1 freezer")?))
}

/// A client's Delete, without force: what runc refuses for a container that it calls paused.
fn can_be_deleted(host: &Host, id: &str) -> Result<()> {
    host.daemon.await_status(id, Some("STOPPED"))?;
    host.daemon.ctr(&["tasks", "rm", id])?.ok()?;
    host.daemon.ctr(&["containers", "rm", id])?.ok().map(drop)
}

/// Many violations, of which most come while KILL is under way, and some after it.
fn violations(version: Version, rounds: usize) -> Result<()> {
    let host = Host::start(version)?;
    for round in 0..rounds {
        let id = format!("v{round}");
        host.run(&id, &[], COUNTS)?;
        let freezer = freezer_of(&host, &id)?;
        runtime().block_on(async {
            let executor = host.guard(&id)?;
            let first = executor.act(Action::Kill, "the first");
            let beside: Vec<_> = (0..4)
                .map(|thread| {
                    let executor = executor.clone();
                    std::thread::spawn(move || {
                        let action = [Action::Kill, Action::Pause][thread % 2];
                        for _ in 0..200 {
                            drop(executor.act(action, "another"));
                        }
                    })
                })
                .collect();
            assert!(first.await.done);
            let late = executor.act(Action::Pause, "after").await;
            assert!(late.done, "{late:?}");
            drop(executor.act(Action::Kill, "after"));
            for thread in beside {
                thread.join().unwrap();
            }
            anyhow::Ok(())
        })?;
        let state = fs::read_to_string(freezer.join("freezer.state")).unwrap_or_default();
        assert!(matches!(state.trim(), "" | "THAWED"), "round {round}: {state}");
        can_be_deleted(&host, &id).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

#[test]
fn violations_come_after_kill_under_1_6() -> Result<()> {
    violations(Version::V1_6, 25)
}

#[test]
fn violations_come_after_kill_under_2_1() -> Result<()> {
    violations(Version::V2_1, 25)
}

/// What freezes it, before it is killed.
fn killed_while(name: &str, freeze: impl Fn(&Host, &Path) -> Result<()>) -> Result<()> {
    let cgroup = Group::new(name);
    let host = Host::start(Version::V1_6)?;
    host.run("one", &["--cgroup", &format!("{}/one", cgroup.0)], COUNTS)?;
    let freezer = freezer_of(&host, "one")?;
    runtime().block_on(async {
        let executor = host.guard("one")?;
        freeze(&host, &freezer)?;
        let start = Instant::now();
        let outcome = executor.act(Action::Kill, "").await;
        assert!(outcome.done, "{outcome:?}");
        assert!(start.elapsed() < LIMIT, "{outcome:?}");
        can_be_deleted(&host, "one")
    })?;
    let above = freezer.parent().unwrap();
    if above.exists() {
        fs::write(above.join("freezer.state"), "THAWED")?;
    }
    Ok(())
}

/// A process of the container that is not its init.
fn another(host: &Host, cgroup: &Path) -> Result<String> {
    let init = host.pid("one")?.to_string();
    lacre_integration::output::wait_for("another process", LIMIT, || {
        let pids = fs::read_to_string(cgroup.join("cgroup.procs"))?;
        Ok(pids.lines().find(|pid| **pid != init).map(str::to_owned))
    })
}

fn freeze(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("freezer.state"), "FROZEN")?;
    lacre_integration::output::wait_for("the freezer", LIMIT, || {
        let state = fs::read_to_string(cgroup.join("freezer.state"))?;
        Ok((state.trim() == "FROZEN").then_some(()))
    })
}

#[test]
fn a_client_has_paused_it() -> Result<()> {
    killed_while("client", |host, _| host.daemon.pause("one"))
}

#[test]
fn the_cgroup_above_is_frozen() -> Result<()> {
    killed_while("above", |_, cgroup| freeze(cgroup.parent().unwrap()))
}

/// As it can itself, with a cgroup mount of its own.
#[test]
fn a_cgroup_beneath_is_frozen() -> Result<()> {
    killed_while("beneath", |host, cgroup| {
        let inner = cgroup.join("inner");
        fs::create_dir(&inner)?;
        let other = another(host, cgroup)?;
        fs::write(inner.join("cgroup.procs"), other)?;
        freeze(&inner)
    })
}

/// Its first process alone, which every other waits for.
#[test]
fn its_init_is_frozen_beneath() -> Result<()> {
    killed_while("init", |host, cgroup| {
        let inner = cgroup.join("inner");
        fs::create_dir(&inner)?;
        fs::write(inner.join("cgroup.procs"), host.pid("one")?.to_string())?;
        freeze(&inner)
    })
}

/// One that left the container's cgroup for a frozen one.
#[test]
fn a_process_is_frozen_elsewhere() -> Result<()> {
    let elsewhere =
        PathBuf::from(format!("/sys/fs/cgroup/freezer/lacre-elsewhere-{}", std::process::id()));
    killed_while("elsewhere", |host, cgroup| {
        let other = another(host, cgroup)?;
        fs::create_dir(&elsewhere)?;
        fs::write(elsewhere.join("cgroup.procs"), other)?;
        freeze(&elsewhere)
    })?;
    fs::remove_dir(&elsewhere)?;
    Ok(())
}

/// A freeze under way is undone first: a process that does not stop keeps PAUSE busy.
#[test]
fn kill_comes_while_it_is_being_frozen() -> Result<()> {
    killed_while("midway", |_, cgroup| {
        let state = cgroup.join("freezer.state");
        fs::write(&state, "FROZEN")?;
        fs::write(&state, "THAWED")?;
        fs::write(&state, "FROZEN").map_err(Into::into)
    })
}

/// It ended by itself, and a violation of its last moment comes after.
#[test]
fn a_violation_comes_after_its_own_end() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    host.run("one", &[], "sleep 1000")?;
    runtime().block_on(async {
        let executor = host.guard("one")?;
        let freezer = freezer_of(&host, "one")?;
        host.daemon.signal("one", "SIGKILL")?;
        host.daemon.await_status("one", Some("STOPPED"))?;
        let outcome = executor.act(Action::Pause, "late").await;
        assert!(outcome.done, "there is nobody to be frozen: {outcome:?}");
        assert!(!executor.is_paused());
        let state = fs::read_to_string(freezer.join("freezer.state")).unwrap_or_default();
        assert!(matches!(state.trim(), "" | "THAWED"), "{state}");
        can_be_deleted(&host, "one")
    })
}

/// A client ends what lacre has paused: from then on nothing freezes it.
#[test]
fn a_client_kills_what_is_paused() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    host.run("one", &[], COUNTS)?;
    runtime().block_on(async {
        let executor = host.guard("one")?;
        assert!(executor.act(Action::Pause, "").await.done);
        executor.end_asked();
        let late = executor.act(Action::Pause, "").await;
        assert!(!late.done && late.detail.contains("being ended"), "{late:?}");
        assert!(executor.resume().await.is_err(), "it is not said to run");
        host.daemon.signal("one", "SIGKILL")?;
        can_be_deleted(&host, "one")
    })
}

/// The container's inner shim, asked through containerd.
struct Inner(Arc<Host>);

impl lacre_executor::Runtime for Inner {
    fn kill(&self, _: u32, _: bool) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn pids(&self) -> Later<'_, Vec<u32>> {
        Box::pin(std::future::pending())
    }
    fn state(&self) -> Later<'_, State> {
        let status = self.0.daemon.status("one");
        Box::pin(async move {
            match status.as_ref().ok().and_then(Option::as_deref) {
                Some("PAUSED") => Ok(State::Paused),
                Some("RUNNING") => Ok(State::Running),
                _ => Err(RuntimeError { doing: "asking for its state".into(), source: None }),
            }
        })
    }
    fn resume(&self) -> Later<'_, ()> {
        let resumed = self.0.daemon.resume("one");
        Box::pin(async move {
            resumed.map_err(|error| RuntimeError { doing: format!("{error:#}"), source: None })
        })
    }
    fn wait_exit(&self) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// A client paused first, and lacre after: one Resume ends both, and the inner shim, which
/// calls it paused, does not go on doing so.
#[test]
fn a_resume_after_both_have_paused() -> Result<()> {
    let host = Arc::new(Host::start(Version::V2_1)?);
    host.run("one", &[], COUNTS)?;
    let container = Container {
        namespace: host.daemon.namespace().into(),
        id: "one".into(),
        generation: "a1".into(),
        init_pid: host.pid("one")?,
        address: host.daemon.socket().display().to_string(),
        manager: Manager::Containerd,
    };
    runtime().block_on(async {
        let inner = Arc::new(Inner(Arc::clone(&host)));
        let executor = Executor::start(container, host.settings(), inner)?;
        for _ in 0..3 {
            executor.client_pauses();
            host.daemon.pause("one")?;
            assert!(executor.act(Action::Pause, "").await.done);
            assert!(executor.resume().await?);
            host.daemon.await_status("one", Some("RUNNING"))?;
            let before = host.count("one");
            lacre_integration::output::wait_for("it running", LIMIT, || {
                Ok((host.count("one") > before).then_some(()))
            })?;
        }
        assert!(executor.act(Action::Kill, "").await.done);
        assert_eq!(executor.target().processes(), Vec::<u32>::new());
        anyhow::Ok(())
    })
}

#[test]
fn a_resume_is_none_while_the_cgroup_above_is_frozen() -> Result<()> {
    let cgroup = Group::new("resume");
    let host = Host::start(Version::V1_6)?;
    host.run("one", &["--cgroup", &format!("{}/one", cgroup.0)], COUNTS)?;
    let freezer = freezer_of(&host, "one")?;
    let above = freezer.parent().context("a cgroup above")?.to_owned();
    runtime().block_on(async {
        let executor = host.guard("one")?;
        assert!(executor.act(Action::Pause, "").await.done);
        freeze(&above)?;
        let resumed = executor.resume().await;
        fs::write(above.join("freezer.state"), "THAWED")?;
        assert!(resumed.is_err_and(|error| error.to_string().contains("above")));
        executor.resume().await?;
        assert!(executor.act(Action::Kill, "").await.done);
        can_be_deleted(&host, "one")
    })?;
    Ok(())
}

/// By what is written down alone: what lacre froze goes on, and what another froze does not.
#[test]
fn without_the_guard_that_froze_it_an_operator_releases_it() -> Result<()> {
    let host = Host::start(Version::V2_1)?;
    host.run("one", &[], COUNTS)?;
    let (freezer, pid) = (freezer_of(&host, "one")?.join("freezer.state"), host.pid("one")?);
    let run = host.settings().run;
    let release = || lacre_executor::release_without_guard(&run, "a1", pid);
    let nothing = release();
    assert!(nothing.undone.is_empty() && nothing.failed.is_empty(), "{nothing:?}");
    runtime().block_on(async {
        let executor = host.guard("one")?;
        assert!(executor.act(Action::Pause, "").await.done);
        anyhow::Ok(())
    })?;
    let state = || fs::read_to_string(&freezer).map(|text| text.trim().to_owned());
    assert_eq!(state()?, "FROZEN");
    assert_eq!(release().undone, [Action::Pause]);
    assert_eq!(state()?, "THAWED");
    fs::write(&freezer, "FROZEN")?;
    let others = release();
    assert!(others.undone.is_empty() && others.failed.len() == 1, "{others:?}");
    assert_eq!(lacre_executor::frozen(&run, "a1", pid), Some(lacre_executor::Frozen::ByOthers));
    fs::write(&freezer, "THAWED")?;
    Ok(())
}
