//! One attack in one container, and what the host saw of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::images::debian_image;
use lacre_integration::output::wait_for;
use lacre_integration::paths::cached;
use lacre_integration::{Containerd, Image, Layer, Output, Runtime, Version};

use crate::corpus::{Attack, Entry};

/// What attacks that have an interpreter read their code read.
const READ: &str = "/tmp/script";

/// What became of an attack. The mark tells whether it ran; the records tell whether lacre
/// noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It did not run: refused.
    Deny(String),
    /// It did not run: killed before its first instruction.
    Kill(String),
    /// It ran, and was reported.
    Report(String),
    /// It ran, and nobody noticed.
    Miss,
    /// It did not run, and nobody says why.
    Nothing,
}

impl Seen {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Deny(_) => "DENY",
            Self::Kill(_) => "KILL",
            Self::Report(_) => "REPORT",
            Self::Miss => "MISS",
            Self::Nothing => "?",
        }
    }
}

/// A daemon with the attacker's files at hand.
pub(crate) struct Field {
    runtime: Runtime,
    image: Image,
    _rules: Option<tempfile::NamedTempFile>,
    /// There until it is dropped.
    daemon: Option<Containerd>,
}

impl Drop for Field {
    /// Whoever waits for a container that lacre ends leaves FIFOs of its own behind; what
    /// containers leave is another test's matter.
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.abandon();
        }
    }
}

impl Field {
    /// Plain runc.
    pub(crate) fn control() -> Result<Self> {
        Self::new(Runtime::Runc, "", None)
    }

    /// lacre, with these lines of configuration.
    pub(crate) fn lacre(settings: &str, policy: &str) -> Result<Self> {
        let rules = tempfile::NamedTempFile::new()?;
        fs::write(&rules, policy)?;
        let settings = format!("{settings}policy: {}\n", rules.path().display());
        Self::new(Runtime::Lacre, &settings, Some(rules))
    }

    fn new(
        runtime: Runtime,
        settings: &str,
        rules: Option<tempfile::NamedTempFile>,
    ) -> Result<Self> {
        let daemon = Containerd::builder(Version::V2_1).lacre(settings).start()?;
        let folder = daemon.node().folder();
        for name in ["attack", "marks"] {
            fs::create_dir(folder.join(name))?;
        }
        compile(&folder.join("attack"))?;
        // Of what many have, it lacks one.
        let busybox = cached("tools/bin/busybox")?;
        let image = debian_image()?.layer(Layer::new().copy("usr/bin/busybox", 0o755, busybox));
        daemon.import(&image)?;
        Ok(Self { runtime, image, _rules: rules, daemon: Some(daemon) })
    }

    /// Runs an attack in a container of its own.
    pub(crate) fn run(&self, attack: &Attack) -> Result<Seen> {
        let id = attack.id;
        let (attacker, marks) = (self.mount("attack", "ro"), self.mount("marks", "rw"));
        let mark = format!("MARK=/marks/{id}");
        let options = [
            "--mount",
            &attacker,
            "--mount",
            &marks,
            "--mount",
            "type=tmpfs,src=tmpfs,dst=/scratch,options=rw:exec",
            "--env",
            &mark,
        ];
        let before = self.records()?.len();
        match attack.entry {
            Entry::Init => {
                let mut all = vec!["--rm"];
                all.extend(options);
                let command = [attack.script];
                Output::of(&mut self.daemon()?.run_command(
                    self.runtime,
                    &all,
                    &self.image,
                    id,
                    &command,
                ))?;
            }
            Entry::Shell => {
                // Where an attack fails, the image's own program runs, and must not wait.
                let script = format!("exec </dev/null\n{}", attack.script);
                let command = ["sleep", "1000"];
                self.daemon()?.spawn_with(self.runtime, &options, &self.image, id, &command)?;
                let said = self.daemon()?.exec(id, &["bash", "-c", &script])?;
                if self.runtime == Runtime::Runc {
                    eprintln!("{id}: {said:?}");
                }
                self.daemon()?.remove(id)?;
            }
        }
        let ran = self.path("marks").join(id).exists();
        self.judge(id, ran, before)
    }

    fn judge(&self, id: &str, ran: bool, before: usize) -> Result<Seen> {
        if self.runtime == Runtime::Runc {
            return Ok(if ran { Seen::Miss } else { Seen::Nothing });
        }
        // A record is written after the kernel was answered: give it a moment.
        let record = wait_for("a record", Duration::from_secs(3), || {
            Ok(self.records()?.into_iter().skip(before).find(|r| r["containerID"] == id))
        });
        let Ok(record) = record else {
            return Ok(if ran { Seen::Miss } else { Seen::Nothing });
        };
        let kind = record["notificate"].as_str().context("a record has its kind")?.to_owned();
        let outcomes: Vec<_> = self
            .records()?
            .into_iter()
            .skip(before)
            .filter(|r| r["containerID"] == id)
            .filter_map(|r| r["outcome"].as_str().map(str::to_owned))
            .collect();
        let killed = outcomes.iter().any(|outcome| outcome == "killed");
        Ok(match (ran, killed) {
            (true, _) => Seen::Report(kind),
            (false, true) if !outcomes.iter().any(|outcome| outcome == "denied") => {
                Seen::Kill(kind)
            }
            (false, _) => Seen::Deny(kind),
        })
    }

    fn daemon(&self) -> Result<&Containerd> {
        self.daemon.as_ref().context("the daemon runs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.daemon.as_ref().map(|d| d.node().folder().join(name)).unwrap_or_default()
    }

    fn mount(&self, name: &str, how: &str) -> String {
        format!("type=bind,src={},dst=/{name},options=rbind:{how}", self.path(name).display())
    }

    fn records(&self) -> Result<Vec<serde_json::Value>> {
        let text = fs::read_to_string(self.path("lacre/violations.jsonl")).unwrap_or_default();
        let all: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        // Outcomes of actions stand in the same file.
        let is_violation = |entry: &serde_json::Value| entry["notificate"].is_string();
        // Of what is read by the way, nothing is told of the attack.
        let is_by_the_way =
            |entry: &serde_json::Value| entry["notificate"] == "REPORT" && entry["path"] != READ;
        let of_it = |entry: &serde_json::Value| is_violation(entry) && !is_by_the_way(entry);
        Ok(all.into_iter().filter(of_it).collect())
    }
}

/// Builds the attacker's files.
fn compile(folder: &Path) -> Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks/payload");
    for (name, source, flags) in [
        ("pwned", "pwned.c", &["-static"][..]),
        ("dynamic", "pwned.c", &[]),
        ("interp", "pwned.c", &["-Wl,--dynamic-linker=/tmp/ld.so"]),
        ("ld.so", "loader.c", &["-nostdlib", "-static-pie", "-fPIC"]),
        ("pwned.so", "pwned.c", &["-DLIBRARY", "-shared", "-fPIC"]),
        ("nosep.so", "pwned.c", &["-DLIBRARY", "-shared", "-fPIC", "-Wl,-z,noseparate-code"]),
    ] {
        let mut command = Command::new("cc");
        command.args(["-O1", "-o"]).arg(folder.join(name)).args(flags).arg(sources.join(source));
        let output = Output::of(&mut command)?;
        ensure!(output.code == 0, "{command:?}: {}", output.stderr);
    }
    Ok(())
}
