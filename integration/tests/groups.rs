//! Containers that share one inner shim by the annotation with which runc's shim groups them.

use std::fs;

use anyhow::{Context, Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::process::alive;
use lacre_integration::{Containerd, Runtime, Version};

const GROUP: [&str; 2] = ["--annotation", "io.containerd.runc.v2.group=together"];
const FOREIGN: &str = "cp /bin/busybox /tmp/echo; /tmp/echo ran; true";

/// Whoever comes first in a group, no container is guarded by a milder configuration than its own.
fn a_group_is_guarded_no_milder_than_asked_for(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version).lacre("mode: audit\n").start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    daemon.check(|daemon| {
        let folder = daemon.node().folder().join("lacre");
        let strict = folder.join("strict.yaml");
        let loose = fs::read_to_string(folder.join("config.yaml"))?;
        fs::write(&strict, loose.replace("mode: audit", "mode: enforce"))?;
        let strict = ["--runtime-config-path", strict.to_str().context("a path")?];
        let run = |options: &[&str], id: &str| {
            let options = [&GROUP[..], &["--rm"], options].concat();
            let arguments = ["sh", "-c", FOREIGN];
            let mut command = daemon.run_command(Runtime::Lacre, &options, &image, id, &arguments);
            lacre_integration::output::Output::of(&mut command)
        };
        daemon.spawn_with(Runtime::Lacre, &GROUP, &image, "audit", &["sleep", "1000"])?;
        let refused = run(&strict, "strict")?;
        ensure!(refused.code != 0 && refused.stderr.contains("is milder than"), "{refused:?}");
        daemon.ctr(&["containers", "rm", "strict"])?;
        let ran = run(&[], "audit-too")?;
        ensure!(ran.code == 0 && ran.stdout.contains("ran"), "{ran:?}");
        daemon.remove("audit")?;
        // The other way round it is held to what is stricter.
        let options = [&GROUP[..], &strict].concat();
        daemon.spawn_with(Runtime::Lacre, &options, &image, "enforce", &["sleep", "1000"])?;
        let denied = run(&[], "joins")?;
        ensure!(denied.code == 0 && !denied.stdout.contains("ran"), "{denied:?}");
        daemon.remove("enforce")
    })
}

#[test]
fn a_group_is_guarded_no_milder_than_asked_for_under_1_7() -> Result<()> {
    a_group_is_guarded_no_milder_than_asked_for(Version::V1_7)
}

#[test]
fn a_group_is_guarded_no_milder_than_asked_for_under_2_1() -> Result<()> {
    a_group_is_guarded_no_milder_than_asked_for(Version::V2_1)
}

/// A shim of runc's that was there before lacre has others' containers too: they outlive lacre's,
/// however that ends.
fn who_shares_a_shim_with_lacre_is_left_alone(version: Version) -> Result<()> {
    use lacre_integration::fault::{Victim, find, kill};
    let daemon = Containerd::builder(version).lacre("mode: enforce\n").start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    daemon.check(|daemon| {
        daemon.spawn_with(Runtime::Runc, &GROUP, &image, "others", &["sleep", "1000"])?;
        let init = daemon.task_pid("others")?.context("it runs")?;
        let is_there = || -> Result<()> {
            ensure!(alive(init), "its process has gone");
            ensure!(daemon.status("others")?.as_deref() == Some("RUNNING"), "its shim has gone");
            daemon.exec("others", &["true"])?.ok().map(drop)
        };
        for (at, dies) in [false, true].into_iter().enumerate() {
            let id = format!("ours-{at}");
            let script = format!("{FOREIGN}; sleep 1000");
            let arguments = ["sh", "-c", &script];
            daemon.spawn_with(Runtime::Lacre, &GROUP, &image, &id, &arguments)?;
            let ours = daemon.task_pid(&id)?.context("it runs")?;
            if dies {
                ensure!(kill(daemon, Victim::Lacre, &id)?, "a guard");
                daemon
                    .await_status(&id, None)
                    .or_else(|_| daemon.await_status(&id, Some("STOPPED")))?;
            }
            daemon.remove(&id)?;
            ensure!(!alive(ours) && !daemon.printed(&id).contains("ran"), "{id}");
            ensure!(find(daemon, Victim::Lacre, &id).is_none(), "a guard of nobody");
            is_there().with_context(|| format!("after {id}"))?;
        }
        daemon.remove("others")?;
        // runc's shim of 2.x leaves its own after a group, with lacre or without.
        let sockets = daemon.node().folder().join("run/containerd/s");
        fs::read_dir(sockets)?.try_for_each(|socket| fs::remove_file(socket?.path()))?;
        Ok(())
    })
}

#[test]
fn who_shares_a_shim_with_lacre_is_left_alone_under_1_7() -> Result<()> {
    who_shares_a_shim_with_lacre_is_left_alone(Version::V1_7)
}

#[test]
fn who_shares_a_shim_with_lacre_is_left_alone_under_2_1() -> Result<()> {
    who_shares_a_shim_with_lacre_is_left_alone(Version::V2_1)
}
