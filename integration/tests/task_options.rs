//! No option that a client sets for a task loses lacre's configuration; and the name of the
//! shim chooses one where no options can.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::output::Output;
use lacre_integration::paths::binaries;
use lacre_integration::{Containerd, Runtime, Version};

const FOREIGN: &str = "cp /bin/busybox /tmp/echo; /tmp/echo ran; true";
const POLICY: &str = "Actions: {ENTRY_NOT_FOUND: {Default: DENY}, NO_WHITELIST: {Default: SKIP}}\n";

fn enforce(folder: &std::path::Path) -> Result<String> {
    let policy = folder.join("lacre/policy.yaml");
    fs::write(&policy, POLICY)?;
    let records = folder.join("lacre/enforced.jsonl");
    let f = folder.display();
    Ok(format!(
        "mode: enforce\npolicy: {}\nrecords: {}\nstate: {f}/lacre/state\nrun: /run/lacre\n",
        policy.display(),
        records.display(),
    ))
}

/// Each option replaces the runtime's own on the wire; the file that those name holds all the
/// same, though the environment names one that guards nothing.
fn the_configuration_stays(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version).lacre("mode: audit\n").start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    let folder = daemon.node().folder().to_owned();
    let strict = folder.join("lacre/strict.yaml");
    fs::write(&strict, enforce(&folder)?)?;
    let path = strict.display().to_string();
    let map = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    for (id, options) in [
        ("plain", &[][..]),
        ("no-pivot", &["--no-pivot"]),
        ("uidmap", &map),
        ("both", &[&map[..], &["--no-pivot"]].concat()),
    ] {
        let all = [&["--rm", "--runtime-config-path", &path], options].concat();
        let arguments = ["sh", "-c", FOREIGN];
        let mut run = daemon.run_command(Runtime::Lacre, &all, &image, id, &arguments);
        let output = Output::of(&mut run)?;
        if version == Version::V2_1 && output.stderr.contains("failed to get runtime v2 options") {
            // The client itself refuses to set options of runc beside others: nothing is lost.
            continue;
        }
        ensure!(output.code == 0, "{id}: {output:?}");
        ensure!(!output.stdout.contains("ran"), "{id} was not guarded: {output:?}");
        ensure!(
            output.stderr.contains("ermission denied") || output.stderr.contains("permitted"),
            "{id}: {output:?}"
        );
    }
    let records = fs::read_to_string(folder.join("lacre/enforced.jsonl"))?;
    ensure!(records.contains(r#""containerID":"plain""#), "{records}");
    // Without a file in the runtime's options the environment's holds, client's options or not.
    for (id, options) in [("free", &[][..]), ("free-no-pivot", &["--no-pivot"])] {
        let all = [&["--rm"], options].concat();
        let arguments = ["sh", "-c", FOREIGN];
        let mut run = daemon.run_command(Runtime::Lacre, &all, &image, id, &arguments);
        let output = Output::of(&mut run)?;
        ensure!(output.code == 0 && output.stdout.contains("ran"), "{id}: {output:?}");
    }
    Ok(())
}

/// Two names, two files, at the same time; a name without a file starts nothing.
fn a_name_chooses(version: Version) -> Result<()> {
    let daemon = Containerd::builder(version).lacre("mode: enforce\n").start()?;
    let image = busybox_image()?;
    daemon.import(&image)?;
    let folder = daemon.node().folder().to_owned();
    // In the daemon's own mount namespace.
    let etc = folder.join("etc-lacre");
    fs::create_dir(&etc)?;
    fs::create_dir_all("/etc/lacre")?;
    let mut mount = daemon.command("mount");
    Output::of(mount.arg("--bind").arg(&etc).arg("/etc/lacre"))?.ok()?;
    let settings = enforce(&folder)?;
    fs::write(etc.join("strict.yaml"), &settings)?;
    fs::write(etc.join("watch.yaml"), settings.replace("mode: enforce", "mode: audit"))?;
    let shim = |name: &str| -> Result<String> {
        let link = folder.join(format!("containerd-shim-lacre-{name}-v1"));
        symlink(binaries().join("containerd-shim-lacre-v1"), &link)?;
        Ok(link.display().to_string())
    };
    let (strict, watch, absent) = (shim("strict")?, shim("watch")?, shim("absent")?);
    let run = |runtime: &str, id: &str| {
        let run = ["run", "--rm", "--runtime", runtime, image.name(), id, "sh", "-c", FOREIGN];
        daemon.ctr(&run)
    };
    for turn in 0..2 {
        let denied = run(&strict, &format!("strict-{turn}"))?;
        ensure!(denied.code == 0 && !denied.stdout.contains("ran"), "{denied:?}");
        let ran = run(&watch, &format!("watch-{turn}"))?;
        ensure!(ran.code == 0 && ran.stdout.contains("ran"), "{ran:?}");
    }
    let refused = run(&absent, "absent")?;
    ensure!(refused.code != 0 && refused.stderr.contains("/etc/lacre/absent.yaml"), "{refused:?}");
    ensure!(!refused.stdout.contains("ran"), "{refused:?}");
    daemon.ctr(&["containers", "delete", "absent"])?;
    Output::of(daemon.command("umount").arg("/etc/lacre"))?.ok().map(drop)
}

#[test]
fn the_configuration_stays_under_1_6() -> Result<()> {
    the_configuration_stays(Version::V1_6)
}

#[test]
fn the_configuration_stays_under_1_7() -> Result<()> {
    the_configuration_stays(Version::V1_7)
}

#[test]
fn the_configuration_stays_under_2_1() -> Result<()> {
    the_configuration_stays(Version::V2_1)
}

#[test]
fn a_name_chooses_under_1_6() -> Result<()> {
    a_name_chooses(Version::V1_6)
}

#[test]
fn a_name_chooses_under_1_7() -> Result<()> {
    a_name_chooses(Version::V1_7)
}

#[test]
fn a_name_chooses_under_2_1() -> Result<()> {
    a_name_chooses(Version::V2_1)
}
