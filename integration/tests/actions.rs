//! Every action, on a real container, as containerd itself tells what became of it.

use std::time::Duration;

use anyhow::{Context, Result};
use lacre_integration::demo_cases::plain_rootfs;
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::paths::cached;
use lacre_integration::{Containerd, Runtime, Version};
use serde_json::Value;

const POLICY: &str = r#"GracePeriod: 1s
Actions:
  ENTRY_NOT_FOUND:
    ByContainerID:
      - pauses: "PAUSE"
      - kills: "KILL"
      - stops: "STOP"
      - deletes: "DELETE"
      - restarts: "RESTART"
      - isolates: "ISOLATE"
      - skips: "SKIP"
      - cannot-isolate: "ISOLATE"
      - cannot-pause: "PAUSE"
      - cannot-stop: "STOP"
      - burst: "KILL"
    Default: "DENY"
  NO_WHITELIST: {Default: "SKIP"}
Fallback: {ISOLATE: PAUSE, PAUSE: STOP, STOP: KILL}
"#;

/// Longer than any action takes; RESTART waits for containerd's restart monitor.
const SOON: Duration = Duration::from_secs(30);

struct Field {
    daemon: Containerd,
}

impl Field {
    fn new(version: Version) -> Result<Self> {
        let builder = Containerd::builder(version).lacre("mode: enforce\n").policy(POLICY);
        let daemon = builder.start()?;
        daemon.import(&busybox_image()?)?;
        Ok(Self { daemon })
    }

    fn start(&self, id: &str) -> Result<()> {
        self.daemon.spawn(Runtime::Lacre, &busybox_image()?, id, &["sleep", "1000"])
    }

    /// What became of each action that followed, in their order.
    fn outcomes(&self, id: &str) -> Result<Vec<(String, String)>> {
        let entries =
            self.daemon.records_of(id)?.into_iter().filter(|entry| entry["record"] == "outcome");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(entries.map(|entry| (text(&entry["action"]), text(&entry["result"]))).collect())
    }

    /// The outcome of the action that followed, and the record with figure 1's fields.
    fn done(&self, id: &str, action: &str) -> Result<()> {
        let outcome = wait_for(format!("the outcome of {action}"), SOON, || {
            Ok(self.daemon.records_of(id)?.into_iter().find(|entry| entry["record"] == "outcome"))
        });
        let outcome = outcome.with_context(|| format!("{:?}", self.daemon.records_of(id)))?;
        assert_eq!(outcome["action"], action, "{outcome}");
        assert_eq!(outcome["result"], "done", "{outcome}");
        let entries = self.daemon.records_of(id)?;
        let record = entries.iter().find(|e| e["notificate"].is_string()).context("a record")?;
        for field in ["containerID", "notificate", "imageName", "imageID", "line"] {
            assert!(record[field].is_string(), "{field} in {record}");
        }
        assert_eq!(record["action"], action);
        assert_eq!(record["outcome"], "denied", "whatever follows, it did not run: {record}");
        let line = record["line"].as_str().unwrap_or_default();
        assert!(line.starts_with("sha256:") && line.ends_with(" /tmp/x\n"), "{line:?}");
        Ok(())
    }
}

fn every_action(version: Version) -> Result<()> {
    let mut field = Field::new(version)?;
    let events = field.daemon.events()?;

    field.start("pauses")?;
    for _ in 0..2 {
        field.daemon.violate("pauses")?;
        field.daemon.await_status("pauses", Some("PAUSED"))?;
        assert_ne!(field.daemon.exec("pauses", &["true"])?.code, 0, "exec in a paused container");
        field.daemon.resume("pauses")?;
        field.daemon.await_status("pauses", Some("RUNNING"))?;
        assert_eq!(field.daemon.exec("pauses", &["true"])?.code, 0);
    }
    field.done("pauses", "PAUSE")?;
    events.expect(&["/lacre/violation", "pauses", "ENTRY_NOT_FOUND"])?;
    events.expect(&["/tasks/paused", "pauses"])?;
    events.expect(&["/tasks/resumed", "pauses"])?;

    for (id, action) in [("kills", "KILL"), ("stops", "STOP")] {
        field.start(id)?;
        field.daemon.violate(id)?;
        field.daemon.await_status(id, Some("STOPPED"))?;
        field.done(id, action)?;
        field.daemon.remove(id)?;
    }

    field.start("isolates")?;
    field.daemon.violate("isolates")?;
    field.done("isolates", "ISOLATE")?;
    assert_eq!(field.daemon.status("isolates")?.as_deref(), Some("RUNNING"));

    field.start("deletes")?;
    field.daemon.violate("deletes")?;
    wait_for("the container being gone", SOON, || {
        let containers = field.daemon.ctr(&["containers", "ls", "-q"])?.ok()?;
        let snapshots = field.daemon.ctr(&["snapshots", "ls"])?.ok()?;
        let gone = !containers.lines().any(|id| id == "deletes")
            && !snapshots.lines().any(|line| line.starts_with("deletes"));
        Ok(gone.then_some(()))
    })?;

    field.start("restarts")?;
    let before = field.daemon.task_pid("restarts")?;
    field.daemon.violate("restarts")?;
    wait_for("the container being back", SOON, || {
        let pid = field.daemon.task_pid("restarts")?;
        let runs = field.daemon.status("restarts")?.as_deref() == Some("RUNNING");
        Ok((runs && pid.is_some() && pid != before).then_some(()))
    })?;
    let found = field.daemon.exec("restarts", &["ls", "/tmp"])?.ok()?;
    assert_eq!(found, "", "it came back from a clean snapshot");

    // By whoever did it, when it was done: no other container needs to start for that.
    for (id, action) in [("deletes", "DELETE"), ("restarts", "RESTART")] {
        let outcome = [(action.to_owned(), "done".to_owned())];
        wait_for(format!("the outcome of {id}"), SOON, || {
            Ok((field.outcomes(id)? == outcome).then_some(()))
        })
        .with_context(|| format!("{:?}", field.daemon.records_of(id)))?;
    }
    drop(events);
    let left = field.daemon.leftovers()?;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// What can't be done is followed by the policy's fallback, along the whole chain, and each is
/// told: the node's network can't be cut, another's cgroup can't be frozen.
#[test]
fn what_fails_is_followed_by_its_fallback() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    // Its own: what the others are put into.
    let group = format!("/{}/beside", field.daemon.namespace());
    let image = busybox_image()?;
    let start = |id, options: &[&str]| {
        let sleeps = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
        field.daemon.spawn_with(Runtime::Lacre, options, &image, id, &sleeps)
    };
    start("beside", &[])?;
    start("cannot-pause", &["--cgroup", &group])?;
    start("cannot-isolate", &["--net-host", "--cgroup", &group])?;
    for (id, expected) in [
        ("cannot-pause", &[("PAUSE", "failed"), ("STOP", "done")][..]),
        ("cannot-isolate", &[("ISOLATE", "failed"), ("PAUSE", "failed"), ("STOP", "done")]),
    ] {
        field.daemon.violate(id)?;
        field.daemon.await_status(id, Some("STOPPED"))?;
        let outcomes = wait_for(format!("the outcomes of {id}"), SOON, || {
            let outcomes = field.outcomes(id)?;
            Ok((outcomes.len() >= expected.len()).then_some(outcomes))
        })?;
        let outcomes: Vec<_> = outcomes.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(outcomes, expected, "{id}");
        field.daemon.ctr(&["tasks", "rm", id])?.ok()?;
        assert_eq!(field.daemon.status("beside")?.as_deref(), Some("RUNNING"), "nobody else");
        assert_eq!(field.daemon.exec("beside", &["true"])?.code, 0);
    }
    Ok(())
}

/// Violations that come when the container has just been killed.
fn burst(version: Version) -> Result<()> {
    let field = Field::new(version)?;
    let script = "cp /bin/busybox /tmp/wc; sleep 0.2; \
                  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
                  (/tmp/wc -c /etc/passwd) & done; sleep 1000";
    for round in 0..10 {
        field.daemon.spawn(Runtime::Lacre, &busybox_image()?, "burst", &["sh", "-c", script])?;
        field.daemon.await_status("burst", Some("STOPPED")).with_context(|| format!("{round}"))?;
        field.daemon.ctr(&["tasks", "rm", "burst"])?.ok().with_context(|| format!("{round}"))?;
        field.daemon.ctr(&["containers", "rm", "burst"])?.ok()?;
    }
    Ok(())
}

#[test]
fn after_a_burst_the_task_can_be_deleted_under_1_6() -> Result<()> {
    burst(Version::V1_6)
}

#[test]
fn after_a_burst_the_task_can_be_deleted_under_2_1() -> Result<()> {
    burst(Version::V2_1)
}

/// A file of the image that was altered is told with the layer that it came from.
#[test]
fn a_record_names_the_layer() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("altered")?;
    let alter = "cp /bin/busybox /tmp/x && echo >>/tmp/x && mv -f /tmp/x /bin/busybox";
    field.daemon.exec("altered", &["sh", "-c", alter])?.ok()?;
    assert_ne!(field.daemon.exec("altered", &["true"])?.code, 0);
    let record = wait_for("the record", SOON, || {
        Ok(field.daemon.records_of("altered")?.into_iter().next())
    })?;
    assert_eq!(record["notificate"], "INVALID_HASH", "{record}");
    let written = busybox_image()?.write(&field.daemon.node().folder().join("written"))?;
    assert_eq!(record["layer"], written.diff_ids[0].as_str(), "{record}");
    assert_eq!(record["fileKind"], "elf", "{record}");
    Ok(())
}

/// What the policy lets pass runs in enforce mode too, and is told.
#[test]
fn what_is_skipped_runs() -> Result<()> {
    let field = Field::new(Version::V2_1)?;
    field.start("skips")?;
    let drop = "cp /bin/busybox /tmp && /tmp/busybox echo ran";
    assert_eq!(field.daemon.exec("skips", &["sh", "-c", drop])?.ok()?, "ran\n");

    let rootfs = plain_rootfs(field.daemon.node().folder(), &cached("tools/bin/busybox")?)?;
    let mut command = field.daemon.ctr_command(field.daemon.namespace());
    command.args(["run", "--rm", "--runtime", Runtime::Lacre.name(), "--rootfs"]).arg(&rootfs);
    command.args(["plain", "/bin/sh", "-c", "/bin/sleep 0 && echo ran"]);
    assert_eq!(Output::of(&mut command)?.ok()?, "ran\n");

    for (id, kind) in [("skips", "ENTRY_NOT_FOUND"), ("plain", "NO_WHITELIST")] {
        wait_for(format!("the record of {id}"), SOON, || {
            Ok((!field.daemon.records_of(id)?.is_empty()).then_some(()))
        })?;
        for entry in field.daemon.records_of(id)? {
            if entry["record"] == "update" {
                // The same again.
                continue;
            }
            assert_eq!(entry["notificate"], kind, "{entry}");
            assert_eq!((&entry["action"], &entry["outcome"]), (&"SKIP".into(), &"ran".into()));
        }
    }
    Ok(())
}

#[test]
fn every_action_under_1_6() -> Result<()> {
    every_action(Version::V1_6)
}

#[test]
fn every_action_under_2_1() -> Result<()> {
    every_action(Version::V2_1)
}
