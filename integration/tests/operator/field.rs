//! A node with a policy that pauses and isolates, and what an operator asks of it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::paths::binaries;
use lacre_integration::{Containerd, Runtime, Version};
use serde_json::Value;

/// Longer than anything here takes, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

const POLICY: &str = r#"Actions:
  ENTRY_NOT_FOUND:
    ByContainerID:
      - pauses: "PAUSE"
      - again: "PAUSE"
      - isolates: "ISOLATE"
    Default: "DENY"
"#;

/// A node with some containers.
pub(crate) struct Field {
    pub(crate) daemon: Containerd,
}

impl Field {
    pub(crate) fn new(version: Version) -> Result<Self> {
        Self::of(version, "")
    }

    /// With more in the configuration.
    pub(crate) fn with(lacre: &str) -> Result<Self> {
        Self::of(Version::V2_1, lacre)
    }

    fn of(version: Version, lacre: &str) -> Result<Self> {
        let settings = format!("mode: enforce\n{lacre}");
        let daemon = Containerd::builder(version).lacre(&settings).policy(POLICY).start()?;
        daemon.import(&busybox_image()?)?;
        Ok(Self { daemon })
    }

    pub(crate) fn start(&self, id: &str) -> Result<()> {
        self.daemon.spawn(Runtime::Lacre, &busybox_image()?, id, &["sleep", "1000"])
    }

    /// The command, as root types it on that node.
    pub(crate) fn lacre(&self, arguments: &[&str]) -> Command {
        let mut command = self.daemon.command(binaries().join("lacre"));
        command.args(arguments);
        command.arg("--config").arg(self.daemon.node().folder().join("lacre/config.yaml"));
        command
    }

    pub(crate) fn say(&self, arguments: &[&str]) -> Result<Output> {
        Output::of(&mut self.lacre(arguments))
    }

    /// `ps --json`, and its exit status.
    pub(crate) fn ps(&self, more: &[&str]) -> Result<(Value, i32)> {
        let socket = self.daemon.socket().display().to_string();
        let all = [&["ps", "--json", "--address", &socket], more].concat();
        let said = self.say(&all)?;
        let json = serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))?;
        Ok((json, said.code))
    }

    /// The row of a guarded container.
    pub(crate) fn row(&self, id: &str) -> Result<Value> {
        let (all, _) = self.ps(&[])?;
        let mut rows = all["guarded"].as_array().into_iter().flatten();
        rows.find(|row| row["id"] == id).cloned().with_context(|| format!("{id} in {all}"))
    }

    pub(crate) fn await_state(&self, id: &str, word: &str) -> Result<Value> {
        wait_for(format!("{id} being {word}"), SOON, || {
            let row = self.row(id)?;
            let has = row["state"].as_array().is_some_and(|all| all.iter().any(|it| it == word));
            Ok(has.then_some(row))
        })
    }

    /// Lines of a kind that are about a container.
    pub(crate) fn records(&self, id: &str, kind: &str) -> Result<Vec<Value>> {
        let all = self.daemon.records_of(id)?.into_iter();
        Ok(all.filter(|it| it["record"] == kind).collect())
    }

    /// Whether its freezer, of whichever version, holds it.
    pub(crate) fn is_frozen(&self, id: &str) -> Result<bool> {
        let pid = self.daemon.task_pid(id)?.context("it runs")?;
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        if let Some(path) = cgroups.lines().find_map(|it| Some(it.split_once(":freezer:")?.1)) {
            let state = fs::read_to_string(format!("/sys/fs/cgroup/freezer{path}/freezer.state"))?;
            return Ok(state.trim() != "THAWED");
        }
        let path = cgroups.lines().find_map(|it| it.strip_prefix("0::")).context("cgroup v2")?;
        let state = fs::read_to_string(format!("/sys/fs/cgroup{path}/cgroup.freeze"))?;
        Ok(state.trim() == "1")
    }

    pub(crate) fn ends_well(mut self) -> Result<()> {
        let left = self.daemon.leftovers()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    }
}
