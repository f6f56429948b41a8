//! Baselines that are made ahead.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lacre_integration::output::Output;
use lacre_integration::{Image, Snapshotter, Version};
use serde_json::Value;

use crate::field::{Field, OWN, image};
use crate::late::Maker;

/// For a line of a follower: an image is made in a second or two, and one round comes each minute.
const PATIENCE: Duration = Duration::from_secs(90);

fn warm(field: &Field, more: &[&str]) -> std::process::Command {
    let address = field.daemon.socket().display().to_string();
    let state = field.daemon.node().folder().join("lacre/state").display().to_string();
    let snapshotter = field.snapshotter.name();
    let mut all = vec!["baseline", "warm", "--json", "--address", &address, "--state", &state];
    all.extend(["--snapshotter", snapshotter]);
    all.extend(more);
    field.cli(&all)
}

/// Nobody waits for anything, though all that is not there would take for ever.
fn waits_for_nothing(field: &Field, image: &Image, id: &str) -> Result<()> {
    let _maker = Maker::of_all(field)?;
    let ran = field.run(image, id, &["sh", "-c", OWN])?;
    ensure!(ran.code == 0, "{ran:?}");
    Ok(())
}

fn is_there(version: Version, snapshotter: Snapshotter) -> Result<()> {
    let field = Field::new(version, snapshotter, "baseline: {wait: 1m}\n")?;
    let image = image()?;
    field.daemon.import(&image)?;
    let mut told = Vec::new();
    for made in [true, false] {
        let said = Output::of(&mut warm(&field, &[]))?.ok()?;
        let lines =
            said.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let line = lines.iter().find(|it| it["image"] == image.name() && it["made"] == made);
        told.push(line.with_context(|| format!("made {made}: {said}"))?.clone());
    }
    ensure!(told[0]["baseline"] == told[1]["baseline"], "{told:?}");
    let directories = if snapshotter == Snapshotter::Native { "not of use" } else { "known" };
    ensure!(told[0]["directories"] == directories, "{told:?}");
    waits_for_nothing(&field, &image, "warmed")?;
    ensure!(told[0]["baseline"] == field.baseline_of("warmed")?.0, "{told:?}");
    let none = Output::of(&mut warm(&field, &["lacre.test/nobodys:1"]))?;
    ensure!(none.code == 2 && none.stdout.contains("no image"), "{none:?}");
    field.daemon.check(|_| Ok(()))
}

#[test]
fn of_what_is_there() -> Result<()> {
    is_there(Version::V2_1, Snapshotter::Overlayfs)
}

#[test]
fn of_what_is_there_in_1_7() -> Result<()> {
    is_there(Version::V1_7, Snapshotter::Overlayfs)
}

#[test]
fn of_what_is_there_on_native() -> Result<()> {
    is_there(Version::V2_1, Snapshotter::Native)
}

/// `warm --follow`, which ends with it; its lines as they come.
struct Follower {
    child: Child,
    lines: Receiver<Value>,
}

impl Follower {
    fn new(field: &Field) -> Result<Self> {
        let mut child = warm(field, &["--follow"]).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take();
        let (sender, lines) = mpsc::channel();
        let follower = Self { child, lines };
        let out = BufReader::new(out.context("no output")?);
        thread::spawn(move || {
            let values = out.lines().map_while(Result::ok);
            let mut values = values.filter_map(|line| serde_json::from_str(&line).ok());
            values.try_for_each(|line| sender.send(line))
        });
        Ok(follower)
    }

    fn wait_for(&self, of: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).context("it did not tell")?;
            if of(&line) {
                return Ok(line);
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn of_what_comes() -> Result<()> {
    for version in [Version::V2_1, Version::V1_7] {
        let field = Field::new(version, Snapshotter::Overlayfs, "")?;
        let follower = Follower::new(&field)?;
        let image = image()?;
        field.daemon.import(&image)?;
        // Of content first, and of the directories when they are there: at once or later.
        follower
            .wait_for(|line| line["image"] == image.name() && line["directories"] == "known")?;
        drop(follower);
        waits_for_nothing(&field, &image, "followed")?;
        field.daemon.check(|_| Ok(()))?;
    }
    Ok(())
}

/// What failed for another reason than the image itself is tried again, and is no success.
#[test]
fn what_failed_is_made_when_it_can_be() -> Result<()> {
    let field = Field::new(Version::V2_1, Snapshotter::Overlayfs, "")?;
    let image = image()?;
    field.daemon.import(&image)?;
    Output::of(&mut warm(&field, &["lacre.test/nobodys:1"]))?;
    // A file where the folder of layers is to be read and written.
    let layers = field.baselines().join("layers");
    let blocked: Vec<_> = (0..64).map(|n| field.baselines().join(format!("locks/{n}"))).collect();
    for lock in &blocked {
        std::fs::create_dir(lock)?;
    }
    ensure!(std::fs::read_dir(&layers)?.next().is_none(), "layers were made");
    let failed = Output::of(&mut warm(&field, &[]))?;
    ensure!(failed.code == 2, "{failed:?}");
    let follower = Follower::new(&field)?;
    follower.wait_for(|line| line["image"] == image.name() && !line["error"].is_null())?;
    for lock in &blocked {
        std::fs::remove_dir(lock)?;
    }
    // Something happens, and it looks again.
    field.daemon.ctr(&["images", "tag", image.name(), "lacre.test/other:1"])?.ok()?;
    let of = |line: &Value| line["directories"] == "known" && line["baseline"].is_string();
    follower.wait_for(|line| of(line) && !line["made"].is_null())?;
    drop(follower);
    waits_for_nothing(&field, &image, "again")
}
