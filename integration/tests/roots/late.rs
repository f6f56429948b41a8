//! A baseline that is not there when a container is created: somebody else is making it, and
//! takes his time.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lacre_baseline::Store;
use lacre_integration::fault::{Victim, find};
use lacre_integration::output::wait_for;
use lacre_integration::{Runtime, Snapshotter, Version};
use rustix::fs::{FlockOperation, flock};

use crate::field::{DROP, Field, OWN, image};

/// Longer than anything here takes, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Whoever makes a layer holds one of these, and the others wait for him.
pub(crate) struct Maker(#[allow(dead_code, reason = "it is held")] Vec<File>);

impl Maker {
    pub(crate) fn of_all(field: &Field) -> Result<Self> {
        Store::open(&field.baselines())?;
        let locks = (0..64).map(|number| {
            let path = field.baselines().join("locks").join(number.to_string());
            let lock = File::options().create(true).truncate(false).write(true).open(path)?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            Ok(lock)
        });
        Ok(Self(locks.collect::<Result<_>>()?))
    }
}

fn is_bounded(version: Version, sources: &str) -> Result<()> {
    let policy = tempfile::NamedTempFile::new()?;
    std::fs::write(
        policy.path(),
        "Actions:\n  NO_WHITELIST:\n    ByContainerID: [late: SKIP]\n    Default: DENY\n",
    )?;
    let lacre =
        format!("baseline: {{wait: 300ms}}\npolicy: {}\n{sources}", policy.path().display());
    let field = Field::new(version, Snapshotter::Overlayfs, &lacre)?;
    let image = image()?;
    field.daemon.import(&image)?;
    let maker = Maker::of_all(&field)?;
    let asked = Instant::now();
    let refused = field.run(&image, "refused", &["true"])?;
    ensure!(refused.code != 0 && refused.stderr.contains("NO_WHITELIST"), "{refused:?}");
    ensure!(refused.stderr.contains("still being made"), "{refused:?}");
    ensure!(asked.elapsed() < SOON, "{:?}", asked.elapsed());

    let sleeps = ["sh", "-c", "while :; do sleep 0.1; done"];
    field.daemon.spawn(Runtime::Lacre, &image, "late", &sleeps)?;
    let sh = |script: &str| field.daemon.exec("late", &["sh", "-c", script]);
    for script in [OWN, DROP] {
        let ran = sh(script)?;
        ensure!(ran.code == 0, "{script}: {ran:?} {:#?}", field.daemon.violations()?);
    }
    let told = field.daemon.violations()?;
    ensure!(told.iter().all(|it| it["notificate"] == "NO_WHITELIST"), "{told:#?}");
    drop(maker);
    wait_for("the baseline", SOON, || {
        Ok(field.daemon.log().contains("the baseline is there").then_some(()))
    })?;
    wait_for("it to hold", SOON, || Ok((sh(DROP)?.code != 0).then_some(())))?;
    let own = sh(OWN)?;
    let told = field.daemon.violations()?;
    ensure!(own.code == 0, "{own:?} {told:#?}");
    let dropped = told.iter().find(|it| it["notificate"] == "ENTRY_NOT_FOUND");
    let dropped = dropped.with_context(|| format!("{told:#?}"))?;
    ensure!(dropped["path"] == "/tmp/busybox", "{told:#?}");
    ensure!(field.daemon.status("late")?.as_deref() == Some("RUNNING"), "its own is untouched");
    field.daemon.remove("late")?;
    let ran = field.run(&image, "next", &["sh", "-c", OWN])?;
    ensure!(ran.code == 0, "{ran:?}");
    field.daemon.check(|_| Ok(()))
}

#[test]
fn a_create_waits_no_longer_than_it_may() -> Result<()> {
    is_bounded(Version::V2_1, "")
}

#[test]
fn a_create_of_1_7_waits_no_longer_than_it_may() -> Result<()> {
    is_bounded(Version::V1_7, "")
}

/// Where nothing can be held, what is killed is known by the kernel's map alone.
#[test]
fn the_map_is_filled_when_it_comes() -> Result<()> {
    is_bounded(Version::V2_1, "sources: [exec-trace]\n")
}

/// The threads of a container's guard that make baselines.
fn makers(field: &Field, id: &str) -> Result<usize> {
    let guard = find(&field.daemon, Victim::Lacre, id).context("a guard")?;
    let tasks = fs::read_dir(format!("/proc/{}/task", guard.pid))?.flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.filter(|name| name.trim() == "baseline").count())
}

/// Who makes a baseline for a container stops when that is killed, and when it is deleted before
/// it was started; who waits for the same one has it all the same.
#[test]
fn what_is_made_for_a_container_that_has_ended_is_called_off() -> Result<()> {
    let policy = tempfile::NamedTempFile::new()?;
    fs::write(policy.path(), "Actions:\n  NO_WHITELIST:\n    Default: SKIP\n")?;
    let wait =
        |wait: &str| format!("baseline: {{wait: {wait}}}\npolicy: {}\n", policy.path().display());
    let field = Field::new(Version::V2_1, Snapshotter::Overlayfs, &wait("300ms"))?;
    let patient = field.daemon.node().folder().join("lacre/patient.yaml");
    let config = fs::read_to_string(field.daemon.node().folder().join("lacre/config.yaml"))?;
    fs::write(&patient, config.replace("300ms", "10m"))?;
    let image = image()?;
    field.daemon.import(&image)?;
    let runtime = Runtime::Lacre;
    let sleeps = ["sleep", "1000"];
    let maker = Maker::of_all(&field)?;
    field.daemon.spawn(runtime, &image, "killed", &sleeps)?;
    field.daemon.spawn(runtime, &image, "waits", &sleeps)?;
    ensure!((makers(&field, "killed")?, makers(&field, "waits")?) == (1, 1), "nobody makes it");
    field.daemon.signal("killed", "KILL")?;
    field.daemon.await_status("killed", Some("STOPPED"))?;
    wait_for("its end", SOON, || Ok((makers(&field, "killed")? == 0).then_some(())))?;

    // Its Create is answered, and whoever starts it waits.
    let path = patient.to_str().context("a path")?;
    let options = ["--runtime-config-path", path, "--detach", "--null-io"];
    let mut starts = field
        .daemon
        .run_command(runtime, &options, &image, "deleted", &sleeps)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    field.daemon.await_status("deleted", Some("CREATED"))?;
    ensure!(makers(&field, "deleted")? == 1, "nobody makes it");
    field.daemon.ctr(&["tasks", "delete", "--force", "deleted"])?;
    wait_for("who started it to be told", SOON, || Ok(starts.try_wait()?))?;

    ensure!(makers(&field, "waits")? == 1, "who waits has nothing to do with that");
    drop(maker);
    wait_for("the baseline", SOON, || {
        Ok(field.daemon.log().contains("the baseline is there").then_some(()))
    })?;
    ["killed", "waits"].iter().try_for_each(|id| field.daemon.remove(id))?;
    field.daemon.check(|_| Ok(()))
}
