//! Containers, each with a configuration of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::output::wait_for;
use lacre_integration::{Containerd, Image, Output, Runtime, Version};
use serde_json::Value;

/// For a record to be written on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Both values of `block`.
pub(crate) const BLOCKS: [&str; 2] = ["exec", "all"];

pub(crate) struct Field {
    pub(crate) daemon: Containerd,
    pub(crate) image: Image,
}

impl Field {
    pub(crate) fn new(image: Image) -> Result<Self> {
        let daemon = Containerd::builder(Version::V2_1).start()?;
        daemon.import(&image)?;
        Ok(Self { daemon, image })
    }

    /// An image that is there as an archive, and large.
    pub(crate) fn imported(image: Image, archive: &Path) -> Result<Self> {
        let daemon = Containerd::builder(Version::V2_1).start()?;
        let mut import = daemon.ctr_command(daemon.namespace());
        import.args(["images", "import"]).arg(archive);
        Output::within(Duration::from_secs(600), &mut import)?.ok()?;
        Ok(Self { daemon, image })
    }

    /// Starts a container that waits to be entered, in enforce mode.
    pub(crate) fn start(
        &self,
        id: &str,
        block: &str,
        policy: &str,
        options: &[&str],
    ) -> Result<()> {
        let folder = self.daemon.node().folder().join("lacre");
        fs::create_dir_all(&folder)?;
        let file = |suffix: &str| folder.join(format!("{id}.{suffix}"));
        fs::write(file("policy.yaml"), policy)?;
        let config = format!(
            "mode: enforce\nblock: {block}\npolicy: {}\nrecords: {}\nstate: {}\nrun: /run/lacre\n",
            file("policy.yaml").display(),
            self.daemon.record_file().display(),
            folder.join("state").display(),
        );
        fs::write(file("yaml"), config)?;
        let config = file("yaml").display().to_string();
        // Bytecode that one has written, the next would run.
        let always = ["--runtime-config-path", &config, "--env", "PYTHONDONTWRITEBYTECODE=1"];
        let all = [&always[..], options].concat();
        self.daemon.spawn_with(Runtime::Lacre, &all, &self.image, id, &["sleep", "100000"])
    }

    pub(crate) fn enter(&self, id: &str, command: &[&str]) -> Result<Output> {
        self.daemon.exec(id, command)
    }

    /// What a shell's script says, which must go well.
    pub(crate) fn sh(&self, id: &str, script: &str) -> Result<String> {
        let said = self.enter(id, &["sh", "-c", script])?;
        ensure!(said.code == 0, "{script}: {said:?} {:#?}", self.daemon.records()?);
        Ok(said.stdout)
    }

    /// The records of a container that have that kind.
    pub(crate) fn told(&self, id: &str, kind: &str) -> Result<Vec<Value>> {
        let all = self.daemon.violations()?.into_iter();
        Ok(all.filter(|it| it["containerID"] == id && it["notificate"] == kind).collect())
    }

    /// The record of that kind and path, once it is there.
    pub(crate) fn await_told(&self, id: &str, kind: &str, path: &str) -> Result<Value> {
        let all = || self.told(id, kind);
        wait_for(format!("{kind} of {path}"), SOON, || {
            Ok(all()?.into_iter().find(|it| it["path"] == path))
        })
        .with_context(|| format!("{:#?}", self.daemon.records()))
    }

    /// Whether nothing of a container was killed, and of nothing is on record but reports.
    pub(crate) fn is_innocent(&self, id: &str) -> Result<()> {
        let mut all = self.daemon.violations()?;
        all.retain(|it| it["containerID"] == id && it["notificate"] != "REPORT");
        ensure!(all.is_empty(), "{all:#?}");
        Ok(())
    }
}

pub(crate) fn bind(from: &Path, to: &str) -> String {
    format!("type=bind,src={},dst={to},options=rbind:rw", from.display())
}
