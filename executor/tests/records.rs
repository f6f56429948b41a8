//! DELETE and RESTART against real daemons.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod common;

use std::time::{Duration, Instant};

use anyhow::Result;
use common::{Host, act_as_helper, runtime};
use lacre_containerd::{Client, Status};
use lacre_executor::{Backoff, Container, Manager, Request, Settings};
use lacre_integration::{Runtime, Version};
use lacre_types::Action;

/// What a helper process runs of this program.
#[test]
fn helper() {
    act_as_helper();
}

fn client(host: &Host) -> Client {
    Client::new(&host.daemon.socket().display().to_string(), host.daemon.namespace())
}

async fn nothing_is_left(host: &Host, id: &str) -> Result<()> {
    let client = client(host);
    assert!(client.task(id).await.is_err_and(|error| error.is_not_found()));
    assert!(client.container(id).await.is_err_and(|error| error.is_not_found()));
    let keys = client.snapshots("overlayfs", &[]).await?;
    assert!(keys.iter().all(|snapshot| !snapshot.name.starts_with(id)), "{keys:?}");
    let locks = host.settings().run.join("locks");
    assert_eq!(std::fs::read_dir(locks)?.count(), 0, "no lock is left");
    assert_eq!(std::fs::read_dir(host.settings().run.join("outcomes"))?.count(), 0);
    Ok(())
}

fn delete(version: Version) -> Result<()> {
    let host = Host::start(version)?;
    host.run("one", &[], "while :; do sleep 1; done")?;
    runtime().block_on(async {
        let executor = host.guard("one")?;
        executor.act(Action::Pause, "").await;
        let outcome = executor.act(Action::Delete, "INVALID_HASH /lib/x").await;
        assert!(outcome.done, "{outcome:?}");
        assert!(outcome.detail.contains("deleted container and snapshot"), "{outcome:?}");
        nothing_is_left(&host, "one").await?;
        let again = executor.act(Action::Delete, "").await;
        assert!(again.done && again.detail.contains("DELETE was done before"), "{again:?}");
        Ok(())
    })
}

/// Not under 2.1: there, two clients that delete one task at once sometimes leave a shim
/// behind (two `ctr tasks rm` do: 1 in 12).
#[test]
fn a_client_may_delete_at_the_same_time() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    host.run("one", &[], "while :; do sleep 1; done")?;
    runtime().block_on(async {
        let executor = host.guard("one")?;
        let mut remove = host.daemon.ctr_command(host.daemon.namespace());
        remove.args(["tasks", "rm", "-f", "one"]);
        let racing = std::thread::spawn(move || remove.output());
        let outcome = executor.act(Action::Delete, "").await;
        racing.join().unwrap()?;
        assert!(outcome.done, "{outcome:?}");
        nothing_is_left(&host, "one").await
    })
}

/// `ctr run --rm` deletes everything as soon as the task has ended.
#[test]
fn run_with_rm_may_clean_up_itself() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    for (id, action) in [("deleted", Action::Delete), ("restarted", Action::Restart)] {
        let script = ["sh", "-c", "while :; do sleep 1; done"];
        let mut ctr =
            host.daemon.run_command(Runtime::Runc, &["--rm"], &host.image, id, &script).spawn()?;
        host.daemon.await_status(id, Some("RUNNING"))?;
        let outcome =
            runtime().block_on(async { anyhow::Ok(host.guard(id)?.act(action, "").await) })?;
        ctr.wait()?;
        assert!(outcome.done == (action == Action::Delete), "{outcome:?}");
        runtime().block_on(nothing_is_left(&host, id))?;
    }
    Ok(())
}

/// Deletes the record of a container that is coming back, while its task is being made; whether
/// the moment was met.
async fn record_goes_meanwhile(host: &Host, id: &str) -> Result<bool> {
    let (executor, client) = (host.guard(id)?, client(host));
    let old = host.pid(id)?;
    let restart = async { anyhow::Ok(executor.act(Action::Restart, "").await) };
    let delete = async {
        loop {
            let all = client.tasks().await?;
            match all.iter().find(|task| task.container == id && task.pid != old) {
                Some(task) if task.status == Status::Created => {
                    client.delete_container(id).await?;
                    return anyhow::Ok(true);
                }
                Some(task) if task.status == Status::Running => return Ok(false),
                _ => {}
            }
        }
    };
    let (outcome, met) = tokio::try_join!(restart, delete)?;
    // Both may be, where it was started in that moment.
    assert!(outcome.done || met, "{outcome:?}");
    Ok(met && !outcome.done)
}

/// Nobody can reach a task whose record is gone: under 1.x not even to delete it.
fn record_goes(version: Version) -> Result<()> {
    let host = Host::start(version)?;
    for round in 0..10 {
        let id = format!("round-{round}");
        host.run(&id, &[], "while :; do sleep 1; done")?;
        let met = runtime().block_on(record_goes_meanwhile(&host, &id))?;
        if met {
            let tasks = runtime().block_on(client(&host).tasks())?;
            assert!(tasks.iter().all(|task| task.container != id), "{tasks:?}");
            return runtime().block_on(nothing_is_left(&host, &id));
        }
        host.daemon.remove(&id)?;
    }
    anyhow::bail!("in none of the rounds did the record go while its task was being made")
}

#[test]
fn a_record_that_goes_while_its_task_comes_back_takes_the_task_with_it_under_1_6() -> Result<()> {
    record_goes(Version::V1_6)
}

#[test]
fn a_record_that_goes_while_its_task_comes_back_takes_the_task_with_it_under_2_1() -> Result<()> {
    record_goes(Version::V2_1)
}

#[test]
fn delete_leaves_nothing_under_1_6() -> Result<()> {
    delete(Version::V1_6)
}

#[test]
fn delete_leaves_nothing_under_2_1() -> Result<()> {
    delete(Version::V2_1)
}

async fn runs_anew(host: &Host, id: &str, old: u32) -> Result<()> {
    let task = client(host).task(id).await?;
    assert_eq!(task.status, Status::Running);
    assert_ne!(task.pid, old);
    let there = host.daemon.exec(id, &["test", "-e", "/dropped"])?;
    assert_ne!(there.code, 0, "the snapshot is clean");
    Ok(())
}

fn restart(version: Version) -> Result<()> {
    let host = Host::start(version)?;
    let script = "while :; do sleep 1; done";
    host.run("one", &["--label", "a.b/c=d"], script)?;
    let backoff = Backoff {
        first: Duration::from_secs(3),
        cap: Duration::from_secs(3),
        limit: 2,
        forget: Duration::from_secs(600),
    };
    let settings = Settings { backoff, ..host.settings() };
    runtime().block_on(async {
        let client = client(&host);
        for count in 1..=2 {
            let old = host.pid("one")?;
            host.daemon.exec("one", &["touch", "/dropped"])?.ok()?;
            let executor = host.guard_with("one", settings.clone(), Manager::Containerd)?;
            let start = Instant::now();
            let outcome = executor.act(Action::Restart, "ENTRY_NOT_FOUND /dropped").await;
            assert!(outcome.done, "{outcome:?}");
            assert!(
                outcome.detail.starts_with(&format!("restart {count} from a clean")),
                "{outcome:?}"
            );
            assert!(count == 1 || start.elapsed() > Duration::from_secs(1), "it backs off");
            runs_anew(&host, "one", old).await?;
            let record = client.container("one").await?;
            let label = |name: &str| record.labels.get(name).map(String::as_str);
            assert_eq!(label("lacre.dev/restarts"), Some(count.to_string().as_str()));
            assert_eq!(label("a.b/c"), Some("d"));
            assert_eq!(label("containerd.io/restart.status"), None, "as the user had it");
            let info = client.snapshot("overlayfs", &record.snapshot_key).await?;
            assert!(info.parent.starts_with("sha256:"), "{info:?}");
            let ours = client.snapshots("overlayfs", &[]).await?;
            let ours = ours.iter().filter(|snapshot| snapshot.name.starts_with("one")).count();
            assert_eq!(ours, 1, "the old snapshot is gone");
        }
        // A loop ends in a stop, also for who asked containerd to keep it running.
        let label = ["containers", "label", "one", "containerd.io/restart.status=running"];
        host.daemon.ctr(&label)?.ok()?;
        let executor = host.guard_with("one", settings.clone(), Manager::Containerd)?;
        let outcome = executor.act(Action::Restart, "").await;
        assert!(!outcome.done && outcome.detail.starts_with("stopped instead"), "{outcome:?}");
        assert!(client.task("one").await.is_err_and(|error| error.is_not_found()));
        let record = client.container("one").await?;
        let status = record.labels.get("containerd.io/restart.status").map(String::as_str);
        assert_eq!(status, Some("stopped"));
        client.delete_container("one").await?;
        client.remove_snapshot("overlayfs", &record.snapshot_key).await?;
        nothing_is_left(&host, "one").await
    })
}

#[test]
fn restart_comes_back_clean_under_1_6() -> Result<()> {
    restart(Version::V1_6)
}

#[test]
fn restart_comes_back_clean_under_2_1() -> Result<()> {
    restart(Version::V2_1)
}

#[test]
fn what_others_manage_is_only_killed() -> Result<()> {
    let host = Host::start(Version::V1_6)?;
    host.run("one", &["--label", "io.cri-containerd.kind=container"], "while :; do sleep 1; done")?;
    runtime().block_on(async {
        let record = client(&host).container("one").await?;
        let manager = Manager::of(host.daemon.namespace(), &record.labels);
        assert_eq!(manager, Manager::Kubelet);
        assert_eq!(Manager::of("moby", &Default::default()), Manager::Docker);
        let executor = host.guard_with("one", host.settings(), manager)?;
        let outcome = executor.act(Action::Restart, "").await;
        assert!(outcome.done && outcome.detail.contains("the kubelet makes"), "{outcome:?}");
        host.daemon.await_status("one", Some("STOPPED"))?;
        assert_eq!(client(&host).container("one").await?, record);
        Ok(())
    })
}

/// The helper goes on while containerd is away, and when who asked is gone.
#[test]
fn delete_outlives_its_asker_and_waits_for_containerd() -> Result<()> {
    let mut host = Host::start(Version::V1_6)?;
    host.run("one", &[], "while :; do sleep 1; done")?;
    let settings = host.settings();
    // `main` in a process whose asker (pid 4194305, above any pid_max) is gone.
    let container = Container {
        namespace: host.daemon.namespace().into(),
        id: "one".into(),
        generation: "a1".into(),
        init_pid: 1,
        address: host.daemon.socket().display().to_string(),
        manager: Manager::Containerd,
    };
    let mut request = Request::new(Action::Delete, &container, &settings, "test".into())?;
    let outcome = format!("outcomes/{}.one.4194305.0.json", container.namespace);
    request.outcome = settings.run.join(outcome);
    host.daemon.down(nix::sys::signal::Signal::SIGTERM)?;
    let mut child = lacre_executor::spawn(&settings.helper, &request)?;
    host.daemon.up()?;
    child.wait()?;
    let records = lacre_executor::collect(&settings.run)?;
    assert_eq!(records.len(), 1);
    assert!(records[0].outcome.done, "{records:?}");
    assert_eq!(records[0].container, "one");
    runtime().block_on(nothing_is_left(&host, "one"))
}
