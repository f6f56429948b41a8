//! `lacre release`.

use std::fs;

use anyhow::{Context, Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::{Runtime, Version};

use crate::field::{Field, SOON};

fn paused_and_released(version: Version) -> Result<()> {
    let field = Field::new(version)?;
    let events = field.daemon.events()?;
    field.start("pauses")?;
    for round in 1..=2 {
        field.daemon.violate("pauses")?;
        field.await_state("pauses", "paused")?;
        ensure!(field.is_frozen("pauses")?);
        let said = field.say(&["release", "pau", "--reason", "I looked at it"])?;
        ensure!(said.code == 0 && said.stdout.contains("PAUSE is undone"), "{said:?}");
        ensure!(!field.is_frozen("pauses")?, "{said:?}");
        ensure!(field.daemon.status("pauses")?.as_deref() == Some("RUNNING"));
        ensure!(field.daemon.exec("pauses", &["true"])?.code == 0);
        let told = wait_for("its record", SOON, || {
            Ok(Some(field.records("pauses", "release")?).filter(|all| all.len() == round))
        })?;
        let last = told.last().context("a record")?;
        ensure!(last["uid"] == 0 && last["reason"] == "I looked at it", "{last}");
        ensure!(last["undone"][0] == "PAUSE" && last["result"] == "done", "{last}");
        ensure!(last["again"].is_null() && last["stream"].is_string(), "{last}");
    }
    events.expect(&["/tasks/resumed", "pauses"])?;
    let nothing = field.say(&["release", "pauses", "--reason", "once more"])?;
    ensure!(nothing.code == 0 && nothing.stdout.contains("nothing to undo"), "{nothing:?}");

    let story = field.say(&["show", "pauses"])?.ok()?;
    for word in ["ENTRY_NOT_FOUND", "RELEASE", "I looked at it", "OUTCOME", "/tmp/x", "(content)"] {
        ensure!(story.contains(word), "{word} in {story}");
    }
    let told =
        field.say(&["events", "--json", "--kind", "release", "--container", "pauses"])?.ok()?;
    ensure!(told.lines().count() >= 1 && told.contains("by uid 0"), "{told}");
    for wrong in [&["release", "pauses"][..], &["release", "pauses", "--reason", " "]] {
        ensure!(field.say(wrong)?.code == 64);
    }
    ensure!(field.say(&["release", "nobody", "--reason", "x"])?.code == 2);
    drop(events);
    field.ends_well()
}

#[test]
fn what_lacre_paused_goes_on_under_2_1() -> Result<()> {
    paused_and_released(Version::V2_1)
}

#[test]
fn what_lacre_paused_goes_on_under_1_6() -> Result<()> {
    paused_and_released(Version::V1_6)
}

/// It tries again as soon as it runs, and the policy pauses it for that.
#[test]
fn what_the_policy_pauses_again_at_once_is_told() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    let script = "cp /bin/busybox /tmp/x; while :; do /tmp/x true; sleep 0.02; done";
    field.daemon.spawn(Runtime::Lacre, &busybox_image()?, "again", &["sh", "-c", script])?;
    field.await_state("again", "paused")?;
    let said = field.say(&["release", "again", "--reason", "let us see"])?;
    ensure!(said.code == 1 && said.stdout.contains("PAUSE again at once"), "{said:?}");
    field.await_state("again", "paused")?;
    ensure!(field.is_frozen("again")?);
    let told = wait_for("its record", SOON, || Ok(field.records("again", "release")?.pop()))?;
    ensure!(told["again"][0] == "PAUSE" && told["undone"][0] == "PAUSE", "{told}");
    field.ends_well()
}

#[test]
fn what_somebody_else_froze_stays_frozen() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("clients")?;
    field.daemon.ctr(&["tasks", "pause", "clients"])?.ok()?;
    field.await_state("clients", "paused by others")?;
    let said = field.say(&["release", "clients", "--reason", "x"])?;
    ensure!(said.code == 2 && said.stdout.contains("somebody else has frozen it"), "{said:?}");
    ensure!(field.is_frozen("clients")?);
    field.daemon.ctr(&["tasks", "resume", "clients"])?.ok()?;

    // A client who wants it still when lacre has frozen it already.
    field.start("pauses")?;
    field.daemon.violate("pauses")?;
    field.await_state("pauses", "paused")?;
    field.daemon.ctr(&["tasks", "pause", "pauses"])?.ok()?;
    field.await_state("pauses", "paused, by a client too")?;
    let said = field.say(&["release", "pauses", "--reason", "x"])?;
    ensure!(said.code == 2 && said.stdout.contains("a client has paused it as well"), "{said:?}");
    ensure!(field.is_frozen("pauses")?);
    field.daemon.resume("pauses")?;
    ensure!(!field.is_frozen("pauses")?);
    field.await_state("pauses", "running")?;
    field.ends_well()
}

#[test]
fn a_network_that_was_cut_is_back() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("isolates")?;
    let pid = field.daemon.task_pid("isolates")?.context("it runs")?.to_string();
    let ip = |line: &str| {
        let mut command = field.daemon.node().command("ip");
        Output::of(command.args(line.split(' ')))?.ok()
    };
    ip(&format!("link add lacre-t0 type veth peer name eth0 netns {pid}"))?;
    ip("addr add 10.98.0.1/24 dev lacre-t0")?;
    ip("link set lacre-t0 up")?;
    for line in ["ip addr add 10.98.0.2/24 dev eth0", "ip link set eth0 up"] {
        let mut command = field.daemon.node().command("nsenter");
        command.args(["-t", &pid, "-n", "--"]).args(line.split(' '));
        Output::of(&mut command)?.ok()?;
    }
    let up = |link: &str| -> Result<bool> {
        Ok(ip(&format!("-br link show {link}"))?.contains("LOWER_UP"))
    };
    ensure!(up("lacre-t0")?);
    field.daemon.violate("isolates")?;
    field.await_state("isolates", "isolated")?;
    ensure!(!up("lacre-t0")?);
    let said = field.say(&["release", "isolates", "--reason", "a false alarm"])?;
    ensure!(said.code == 0 && said.stdout.contains("ISOLATE is undone"), "{said:?}");
    wait_for("the link", SOON, || Ok(up("lacre-t0")?.then_some(())))?;
    let told = wait_for("its record", SOON, || Ok(field.records("isolates", "release")?.pop()))?;
    ensure!(told["undone"][0] == "ISOLATE", "{told}");
    field.await_state("isolates", "running")?;
    // And it is cut again by the next violation.
    field.daemon.violate("isolates")?;
    field.await_state("isolates", "isolated")?;
    ensure!(!up("lacre-t0")?);
    let kept = field.daemon.node().view("/run/lacre/isolated");
    let kept =
        if kept.exists() { kept } else { field.daemon.node().folder().join("lacre/run/isolated") };
    ensure!(fs::read_dir(&kept).is_ok_and(|all| all.count() == 1), "{}", kept.display());
    field.ends_well()
}
