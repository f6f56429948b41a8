//! Baselines that are made ahead.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lacre_integration::output::Output;
use lacre_integration::{Image, Snapshotter, Version};
use serde_json::Value;

use crate::field::{Field, OWN, image};
use crate::late::Maker;

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

#[test]
fn of_what_comes() -> Result<()> {
    for version in [Version::V2_1, Version::V1_7] {
        let field = Field::new(version, Snapshotter::Overlayfs, "")?;
        let mut follower = warm(&field, &["--follow"]).stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(follower.stdout.take().context("no output")?);
        let image = image()?;
        field.daemon.import(&image)?;
        let mut lines = out.lines();
        // Of content first, and of the directories when they are there: at once or later.
        let known = lines.find_map(|line| {
            let line: Value = serde_json::from_str(&line.ok()?).ok()?;
            (line["image"] == image.name() && line["directories"] == "known").then_some(line)
        });
        follower.kill()?;
        follower.wait()?;
        known.context("it ended before it was told")?;
        waits_for_nothing(&field, &image, "followed")?;
        field.daemon.check(|_| Ok(()))?;
    }
    Ok(())
}
