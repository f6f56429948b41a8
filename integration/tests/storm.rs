//! Many containers, twenty at a time, with faults.

use std::sync::{Mutex, PoisonError};

use lacre_integration::fault::{Fault, Stage, Storm, Victim, Wreck};
use lacre_integration::images::busybox_image;
use lacre_integration::leaks::Leak;
use lacre_integration::{Containerd, Runtime, Version};

/// One storm at a time: two would only measure each other.
static HEAVY: Mutex<()> = Mutex::new(());

fn storm(
    version: Version,
    runtime: Runtime,
    total: usize,
    fault: fn(usize) -> Option<Fault>,
) -> anyhow::Result<(Wreck, Containerd)> {
    let daemon = Containerd::start(version)?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    let storm = Storm { daemon: &daemon, runtime, image: &image, total, parallel: 20, fault };
    let wreck = storm.blow()?;
    Ok((wreck, daemon))
}

/// Every fault but two that plain runc has no answer to: a shim that is killed while runc
/// creates the container leaves its cgroups too, now and then, and one that is killed while
/// runc kills it may leave it frozen half-way, which `runc delete` waits out for ever.
fn most_faults(number: usize) -> Option<Fault> {
    let fault = Fault::all().get(number % 12).copied()?;
    let hopeless =
        fault.victim == Victim::Inner && matches!(fault.stage, Stage::Starting | Stage::Deleting);
    (!hopeless && fault.victim != Victim::Lacre).then_some(fault)
}

#[test]
fn runc_survives_the_death_of_inits() -> anyhow::Result<()> {
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let (wreck, _daemon) = storm(Version::V2_1, Runtime::Runc, 200, |number| {
        (number % 5 == 0).then_some(Fault { victim: Victim::Init, stage: Stage::Running })
    })?;
    assert!(wreck.errors.is_empty() && wreck.leaks.is_empty(), "{wreck}");
    Ok(())
}

/// The control is no model here: a shim that is killed leaves its socket, and on a busy machine a
/// cgroup with nobody in it.
#[test]
fn runc_leaves_sockets_and_cgroups_of_killed_shims_and_no_more() -> anyhow::Result<()> {
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    for version in Version::ALL {
        let (wreck, daemon) = storm(version, Runtime::Runc, 48, most_faults)?;
        assert!(wreck.errors.is_empty(), "{version:?}: {wreck}");
        let known = |leak: &Leak| matches!(leak, Leak::Socket(_) | Leak::Cgroup(_));
        let other = !wreck.leaks.iter().all(known);
        assert!(!other, "{version:?}: {wreck}");
        daemon.abandon();
    }
    Ok(())
}

/// Every fault at every stage in half of the containers, none in the other half.
fn lacre(version: Version) -> anyhow::Result<()> {
    let _alone = HEAVY.lock().unwrap_or_else(PoisonError::into_inner);
    let (wreck, _daemon) = storm(version, Runtime::Lacre, 200, |number| {
        Fault::all().get(number / 2 % 12).filter(|_| number % 2 == 0).copied()
    })?;
    assert!(wreck.errors.is_empty() && wreck.leaks.is_empty(), "{wreck}");
    assert!(wreck.killed >= 60, "the faults hit nobody: {wreck}");
    Ok(())
}

#[test]
fn lacre_leaves_nothing_under_1_6() -> anyhow::Result<()> {
    lacre(Version::V1_6)
}

#[test]
fn lacre_leaves_nothing_under_1_7() -> anyhow::Result<()> {
    lacre(Version::V1_7)
}

#[test]
fn lacre_leaves_nothing_under_2_1() -> anyhow::Result<()> {
    lacre(Version::V2_1)
}
