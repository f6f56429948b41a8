//! One death at a time, and what containerd then says.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use lacre_integration::fault::{Victim, kill};
use lacre_integration::images::{busybox_image, debian_image};
use lacre_integration::output::Output;
use lacre_integration::paused_process::Held;
use lacre_integration::process::alive;
use lacre_integration::{Containerd, Runtime, Version, not_run};
use nix::sys::signal::Signal;

fn end(client: JoinHandle<anyhow::Result<Output>>) -> anyhow::Result<Output> {
    client.join().map_err(|_| anyhow!("the client's thread panicked"))?
}

/// containerd dies by SIGKILL while it starts a container, and comes back.
fn containerd_dies_starting(version: Version, runtime: Runtime) -> anyhow::Result<()> {
    let mut daemon = Containerd::start(version)?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    for delay in [5, 20, 40, 60, 80, 110, 150] {
        let id = format!("starting-{delay}");
        let mut command =
            daemon.run_command(runtime, &["-d", "--null-io"], &image, &id, &["sleep", "1000"]);
        let client = thread::spawn(move || Output::of(&mut command));
        thread::sleep(Duration::from_millis(delay));
        daemon.down(Signal::SIGKILL)?;
        daemon.up()?;
        end(client)?;
        daemon.clear()?;
    }
    daemon.run(runtime, &image, "after", &["true"])?.ok()?;
    if runtime == Runtime::Runc {
        // A daemon that dies before it has noted a shim's address never finds it again: the
        // control leaves it.
        daemon.abandon();
    }
    Ok(())
}

/// containerd dies by SIGKILL while a command runs in a container, and while the container
/// is deleted; it comes back, and nothing is lost or left.
fn containerd_dies(version: Version, runtime: Runtime) -> anyhow::Result<()> {
    let mut daemon = Containerd::start(version)?;
    let image = busybox_image()?;
    daemon.import(&image)?;

    daemon.spawn(runtime, &image, "stays", &["sleep", "1000"])?;
    let pid = daemon.task_pid("stays")?.context("it runs")?;
    let mut command = daemon.ctr_command(daemon.namespace());
    command.args(["tasks", "exec", "--exec-id", "long", "stays", "sleep", "1"]);
    let client = thread::spawn(move || Output::of(&mut command));
    thread::sleep(Duration::from_millis(80));
    daemon.down(Signal::SIGKILL)?;
    assert!(alive(pid), "a container outlives its daemon");
    daemon.up()?;
    end(client)?;
    assert_eq!(daemon.task_pid("stays")?, Some(pid));
    assert_eq!(daemon.exec_prints("stays", &["echo", "still"])?, "still\n");

    let mut command = daemon.ctr_command(daemon.namespace());
    command.args(["tasks", "rm", "--force", "stays"]);
    let client = thread::spawn(move || Output::of(&mut command));
    thread::sleep(Duration::from_millis(20));
    daemon.down(Signal::SIGKILL)?;
    daemon.up()?;
    end(client)?;
    daemon.clear()?;
    assert!(!alive(pid));
    daemon.forget_client_fifos()?;
    if runtime == Runtime::Runc {
        // A daemon that dies between a task's deletion and its shim's leaves the control's shim.
        daemon.abandon();
    }
    Ok(())
}

/// A shim dies by SIGKILL: its container must not run on without it.
fn shim_dies(version: Version, runtime: Runtime, victim: Victim) -> anyhow::Result<()> {
    let daemon = Containerd::start(version)?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    let events = daemon.events()?;
    daemon.spawn(runtime, &image, "orphan", &["sleep", "1000"])?;
    let pid = daemon.task_pid("orphan")?.context("it runs")?;
    assert!(kill(&daemon, victim, "orphan")?, "there is a {victim:?}");
    events.expect(&["/tasks/exit", "\"orphan\""])?;
    daemon.remove("orphan")?;
    assert!(!alive(pid), "the container runs on unguarded");
    if runtime == Runtime::Runc {
        // Plain runc leaves the socket of a killed shim.
        daemon.abandon();
    }
    Ok(())
}

/// The shim dies while a v1 freezer holds its container half-way, as where the `runc kill`
/// of a container that is about to exec dies with its shim. `runc delete` waits for ever for
/// such a freezer.
fn shim_dies_over_a_half_frozen_container(version: Version) -> anyhow::Result<()> {
    let daemon = Containerd::start(version)?;
    let image = debian_image()?;
    daemon.import(&image)?;
    let events = daemon.events()?;
    let Some(held) = Held::start(&daemon, Runtime::Lacre, &image, "held")? else {
        return not_run("a death over a half-frozen container", "no v1 freezer is mounted");
    };
    held.hold(&daemon, "held")?;
    assert!(kill(&daemon, Victim::Lacre, "held")?, "there is a shim");
    // What told it to execute is an exec of the container, and has an event of its own.
    events.expect(&["/tasks/exit", "\"id\":\"held\""])?;
    daemon.remove("held")?;
    assert!(!alive(held.init()), "the container hangs on");
    Ok(())
}

#[test]
fn lacre_dies_over_a_half_frozen_container() -> anyhow::Result<()> {
    Version::ALL.into_iter().try_for_each(shim_dies_over_a_half_frozen_container)
}

#[test]
fn containerd_dies_over_runc_1_6() -> anyhow::Result<()> {
    containerd_dies_starting(Version::V1_6, Runtime::Runc)?;
    containerd_dies(Version::V1_6, Runtime::Runc)
}

#[test]
fn runc_shim_dies_under_1_6() -> anyhow::Result<()> {
    shim_dies(Version::V1_6, Runtime::Runc, Victim::Inner)
}

#[test]
fn containerd_dies_over_lacre_1_6() -> anyhow::Result<()> {
    containerd_dies_starting(Version::V1_6, Runtime::Lacre)?;
    containerd_dies(Version::V1_6, Runtime::Lacre)
}

#[test]
fn lacre_dies_under_1_6() -> anyhow::Result<()> {
    shim_dies(Version::V1_6, Runtime::Lacre, Victim::Lacre)?;
    shim_dies(Version::V1_6, Runtime::Lacre, Victim::Inner)
}

#[test]
fn containerd_dies_over_runc_1_7() -> anyhow::Result<()> {
    containerd_dies_starting(Version::V1_7, Runtime::Runc)?;
    containerd_dies(Version::V1_7, Runtime::Runc)
}

#[test]
fn runc_shim_dies_under_1_7() -> anyhow::Result<()> {
    shim_dies(Version::V1_7, Runtime::Runc, Victim::Inner)
}

#[test]
fn containerd_dies_over_lacre_1_7() -> anyhow::Result<()> {
    containerd_dies_starting(Version::V1_7, Runtime::Lacre)?;
    containerd_dies(Version::V1_7, Runtime::Lacre)
}

#[test]
fn lacre_dies_under_1_7() -> anyhow::Result<()> {
    shim_dies(Version::V1_7, Runtime::Lacre, Victim::Lacre)?;
    shim_dies(Version::V1_7, Runtime::Lacre, Victim::Inner)
}

#[test]
fn containerd_dies_over_runc_2_1() -> anyhow::Result<()> {
    containerd_dies_starting(Version::V2_1, Runtime::Runc)?;
    containerd_dies(Version::V2_1, Runtime::Runc)
}

#[test]
fn runc_shim_dies_under_2_1() -> anyhow::Result<()> {
    shim_dies(Version::V2_1, Runtime::Runc, Victim::Inner)
}

#[test]
fn containerd_dies_over_lacre_2_1() -> anyhow::Result<()> {
    containerd_dies_starting(Version::V2_1, Runtime::Lacre)?;
    containerd_dies(Version::V2_1, Runtime::Lacre)
}

#[test]
fn lacre_dies_under_2_1() -> anyhow::Result<()> {
    shim_dies(Version::V2_1, Runtime::Lacre, Victim::Lacre)?;
    shim_dies(Version::V2_1, Runtime::Lacre, Victim::Inner)
}
