//! Who guards a container when containerd, the inner shim and lacre itself die, in any order.

use std::fs;

use anyhow::{Context, Result};
use lacre_integration::fault::{Victim, find, kill};
use lacre_integration::images::busybox_image;
use lacre_integration::output::wait_for;
use lacre_integration::process::alive;
use lacre_integration::{Runtime, Version};
use nix::sys::signal::Signal;

use crate::field::{Field, SOON, Who};

fn any_two_die(version: Version) -> Result<()> {
    let orders: [&[Who]; 9] = [
        &[Who::Inner],
        &[Who::Lacre],
        &[Who::Containerd, Who::Inner],
        &[Who::Inner, Who::Containerd],
        &[Who::Containerd, Who::Lacre],
        &[Who::Lacre, Who::Containerd],
        &[Who::Inner, Who::Lacre],
        &[Who::Lacre, Who::Inner],
        &[Who::Containerd, Who::Inner, Who::Lacre],
    ];
    let mut field = Field::new(version)?;
    for (number, order) in orders.into_iter().enumerate() {
        let id = format!("dies-{number}");
        field.start(&id)?;
        for who in order {
            field.dies(*who, &id)?;
            field.tries_more(5).with_context(|| format!("{order:?}, after {who:?}"))?;
        }
        field.ends(&id).with_context(|| format!("{order:?}"))?;
        // Where the inner shim died first, it has ended before, and in good order.
        if order.contains(&Who::Lacre) && order[0] != Who::Inner {
            field.is_told(&id, "died").with_context(|| format!("{order:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn whoever_dies_under_1_6_the_container_is_guarded_or_ended() -> Result<()> {
    any_two_die(Version::V1_6)
}

#[test]
fn whoever_dies_under_1_7_the_container_is_guarded_or_ended() -> Result<()> {
    any_two_die(Version::V1_7)
}

#[test]
fn whoever_dies_under_2_1_the_container_is_guarded_or_ended() -> Result<()> {
    any_two_die(Version::V2_1)
}

/// While containerd is away, what a container does goes on being told, though its inner shim
/// has died.
#[test]
fn what_is_tried_after_the_inner_shims_death_is_on_record() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("told")?;
    field.dies(Who::Containerd, "told")?;
    field.dies(Who::Inner, "told")?;
    let before = field.daemon.records()?.len();
    field.tries_more(5)?;
    wait_for("records", SOON, || Ok((field.daemon.records()?.len() > before).then_some(())))?;
    assert!(alive(field.init), "nobody has asked for its end");
    field.ends("told")
}

/// Where nobody comes to end it, its guard does, after a time that the configuration says.
#[test]
fn containerd_that_stays_away_is_waited_for_no_longer_than_configured() -> Result<()> {
    let mut field = Field::with(Version::V2_1, "mode: enforce\npatience: 1s\n")?;
    field.start("away")?;
    field.dies(Who::Containerd, "away")?;
    field.dies(Who::Inner, "away")?;
    wait_for("its end", SOON, || Ok((!alive(field.init)).then_some(())))?;
    field.ends("away")
}

/// It holds what it guards, and answers nobody: `delete` waits for it no longer than
/// containerd waits for `delete`.
#[test]
fn a_guard_that_hangs_is_stood_in_for() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("hangs")?;
    let guard = find(&field.daemon, Victim::Lacre, "hangs").context("a guard")?;
    guard.signal(Signal::SIGSTOP);
    field.dies(Who::Inner, "hangs")?;
    // It holds its connections too, so that only a restart tells containerd.
    field.dies(Who::Containerd, "hangs")?;
    field.ends("hangs")?;
    assert!(!alive(guard.pid));
    Ok(())
}

/// A client of 1.6 deletes no task that was created and not started.
#[test]
fn a_refused_start_leaves_no_task() -> Result<()> {
    for version in Version::ALL {
        let lacre = "mode: enforce\nsources: [container-ima]\n";
        let field = Field::with(version, lacre)?;
        let image = busybox_image()?;
        let said = field.daemon.run(Runtime::Lacre, &image, "refused", &["true"])?;
        assert_ne!(said.code, 0, "{version:?}");
        let left = field.daemon.ctr(&["tasks", "ls", "-q"])?.ok()?;
        assert_eq!(left, "", "{version:?}");
    }
    Ok(())
}

/// Right after the inner shim's death, what the container had mounted is free: its snapshot is
/// mounted again at once, under an overlay that allows no second mount of one directory.
#[test]
fn a_task_starts_again_on_its_snapshot_right_after_its_inner_shims_death() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    let config = field.daemon.node().folder().join("config.toml");
    let index =
        "\n[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\nmount_options = [\"index=on\"]\n";
    fs::write(&config, fs::read_to_string(&config)? + index)?;
    field.daemon.restart()?;
    let image = busybox_image()?;
    let name = image.name();
    let how = [
        "containers",
        "create",
        "--runtime",
        Runtime::Lacre.name(),
        name,
        "again",
        "sleep",
        "1000",
    ];
    field.daemon.ctr(&how)?.ok()?;
    for turn in 0..100 {
        // containerd lets go of a task when `delete` has answered.
        wait_for("the start", SOON, || {
            let start = ["tasks", "start", "--detach", "--null-io", "again"];
            let said = field.daemon.ctr(&start)?;
            let early = said.code != 0 && said.stderr.contains("already exists");
            Ok(if early { None } else { Some(said) })
        })?
        .ok()
        .with_context(|| format!("turn {turn}"))?;
        field.init = field.daemon.task_pid("again")?.context("it runs")?;
        assert!(kill(&field.daemon, Victim::Inner, "again")?, "turn {turn}");
    }
    Ok(())
}
