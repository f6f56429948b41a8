//! A containerd, two images, and containers made without `ctr`.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prost::Message as _;
use serde_json::{Value, json};

use super::agent::Agent;
use super::processor_time::ProcessorTime;
use super::template::{SNAPSHOTTER, Template};
use super::variant::{self, EXEC_MAP, EXEC_TRACE, FANOTIFY, Variant};
use crate::grpc::{
    Any, Client, CreateTask, Empty, ExecProcess, KillTask, Mount, Mounts, Named, OneContainer,
    Process, Runtime, RuntimeOptions, Snapshot,
};
use crate::images::busybox_image;
use crate::output::Output;
use crate::{Containerd, Version, config};

const SIGKILL: u32 = 9;

/// What the containers are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// One static program.
    Busybox,
    /// The Debian-like image, with what is measured in a layer on top.
    Debian,
    /// The same with many files, once [`Lab::with_many`] has made it.
    Many,
}

/// A container's record and its snapshot; no task yet.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: String,
    mounts: Vec<Mount>,
}

impl Made {
    /// The directories of the image, topmost first.
    pub(crate) fn lower(&self) -> Vec<PathBuf> {
        let options = self.mounts.iter().flat_map(|mount| &mount.options);
        let lower = options.filter_map(|option| option.strip_prefix("lowerdir="));
        lower.flat_map(|dirs| dirs.split(':')).map(PathBuf::from).collect()
    }
}

#[derive(Debug)]
pub(crate) struct Lab {
    client: Client,
    busybox: Template,
    debian: Template,
    many: Option<Template>,
    count: u32,
    /// The sources that this node does not offer, and why.
    missing: Vec<(&'static str, String)>,
    daemon: Containerd,
    // After the daemon: until it has gone, it is in it.
    processor_time: ProcessorTime,
}

impl Lab {
    pub(crate) fn start() -> Result<Self> {
        let daemon = Containerd::builder(Version::V2_1).log_level("info").start()?;
        let pid = daemon.pid().context("a daemon that runs")?;
        let processor_time = ProcessorTime::of(pid, &format!("{}-time", daemon.node().tag()))?;
        let folder = daemon.node().folder();
        for variant in variant::ALL {
            add_settings(&daemon, variant)?;
        }
        fs::create_dir(folder.join("agents"))?;
        let debian = super::image::debian(folder)?;
        let mut client = Client::connect(&daemon.socket(), daemon.namespace())?;
        let busybox = Template::of(&daemon, &mut client, busybox_image()?, "busybox")?;
        let debian = Template::of(&daemon, &mut client, debian, "debian")?;
        let missing = Vec::new();
        let many = None;
        let mut lab =
            Self { client, busybox, debian, many, count: 0, missing, daemon, processor_time };
        for variant in [FANOTIFY, EXEC_TRACE, EXEC_MAP] {
            if let Err(error) = lab.prime(variant) {
                let source = source_of(variant).unwrap_or_default();
                lab.missing.push((source, format!("{error:#}")));
            }
        }
        Ok(lab)
    }

    /// Runs an empty container once: what lacre leaves for the next one is then there.
    pub(crate) fn prime(&mut self, variant: Variant) -> Result<()> {
        let made = self.make(variant, Base::Busybox, &["true"], None)?;
        let ran = self.run(&made);
        match &ran {
            Ok(_) => self.remove(&made)?,
            Err(_) => drop(self.client.call::<_, Empty>("tasks.v1.Tasks/Delete", named(&made))),
        }
        if ran.is_err() {
            self.unmake(&made)?;
        }
        ran.map(drop)
    }

    /// Whether this node offers the one source that a way has; `auto` is always offered.
    fn offers(&self, variant: Variant) -> bool {
        let Some(source) = source_of(variant) else { return true };
        self.missing.iter().all(|(missing, _)| *missing != source)
    }

    /// Those of `all` that this node offers: an older kernel has not every source.
    pub(crate) fn offered(&self, all: &[Variant]) -> Vec<Variant> {
        all.iter().copied().filter(|variant| self.offers(*variant)).collect()
    }

    /// The sources that can't be measured here, and why.
    pub(crate) fn missing(&self) -> &[(&'static str, String)] {
        &self.missing
    }

    /// Takes lacre's programs out of the kernel, where they stay for the next container:
    /// every exec of the node runs through them, runc's too.
    pub(crate) fn unload(&self) -> Result<()> {
        let mut command = self.daemon.node().command("rm");
        Output::of(command.args(["-rf", "/sys/fs/bpf/lacre"]))?.ok().map(drop)
    }

    /// What daemon and shims have used of the processors so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        self.processor_time.now()
    }

    pub(crate) fn daemon(&self) -> &Containerd {
        &self.daemon
    }

    fn folder(&self) -> &Path {
        self.daemon.node().folder()
    }

    fn template(&self, base: Base) -> &Template {
        match base {
            Base::Busybox => &self.busybox,
            Base::Debian => &self.debian,
            Base::Many => self.many.as_ref().unwrap_or(&self.debian),
        }
    }

    /// Makes the image of [`Base::Many`].
    pub(crate) fn with_many(&mut self, files: usize) -> Result<()> {
        let image = super::image::many(self.folder(), files)?;
        self.many = Some(Template::of(&self.daemon, &mut self.client, image, "many")?);
        Ok(())
    }

    fn fresh(&mut self, word: &str) -> String {
        self.count += 1;
        format!("{word}-{}", self.count)
    }

    /// `ctr run --rm`: how long it took, removal included.
    pub(crate) fn ctr_run(
        &mut self,
        variant: Variant,
        base: Base,
        program: &str,
    ) -> Result<Duration> {
        let id = self.fresh("ctr");
        let mut command = self.daemon.ctr_command(self.daemon.namespace());
        command.args(["run", "--rm", "--null-io", "--runtime", runtime_name(variant)]);
        if variant.lacre.is_some() {
            command.arg("--runtime-config-path").arg(settings_of(self.folder(), variant));
        }
        command.args([self.template(base).image.name(), &id, program]);
        let begun = Instant::now();
        let output = Output::of(&mut command)?;
        let took = begun.elapsed();
        output.ok().with_context(|| format!("ctr run by {}", variant.name))?;
        Ok(took)
    }

    /// Makes a container that will run `arguments`, with `volume` at `/ctl`.
    pub(crate) fn make(
        &mut self,
        variant: Variant,
        base: Base,
        arguments: &[&str],
        volume: Option<&Path>,
    ) -> Result<Made> {
        let id = self.fresh(variant.key);
        let group = format!("/{}/{id}", self.daemon.namespace());
        let settings = settings_of(self.folder(), variant);
        let template = self.template(base);
        let mut spec = template.spec.clone();
        spec["process"]["args"] = json!(arguments);
        spec["linux"]["cgroupsPath"] = json!(group);
        if let (Some(volume), Some(mounts)) = (volume, spec["mounts"].as_array_mut()) {
            mounts.push(json!({
                "destination": "/ctl", "type": "bind", "source": volume,
                "options": ["rbind", "rw"],
            }));
        }
        let mut container = template.container.clone();
        container.id = id.clone();
        container.snapshot_key = id.clone();
        container.spec = container.spec.map(|any| Any { value: spec.to_string().into(), ..any });
        if variant.lacre.is_some() {
            let options = RuntimeOptions {
                type_url: String::new(),
                config_path: settings.display().to_string(),
            };
            let options = Any {
                type_url: "runtimeoptions.v1.Options".into(),
                value: options.encode_to_vec(),
            };
            let name = runtime_name(variant).into();
            container.runtime = Some(Runtime { name, options: Some(options) });
        }
        let snapshot = Snapshot {
            snapshotter: SNAPSHOTTER.into(),
            key: id.clone(),
            parent: template.parent.clone(),
        };
        // The record first, and in `unmake` last: a snapshot that no record names is garbage,
        // and collected at any moment.
        let create = OneContainer { container: Some(container) };
        self.client.call::<_, OneContainer>("containers.v1.Containers/Create", create)?;
        let Mounts { mounts } = self.client.call("snapshots.v1.Snapshots/Prepare", snapshot)?;
        Ok(Made { id, mounts })
    }

    /// The task's Create and Start: how long both took.
    pub(crate) fn run(&mut self, made: &Made) -> Result<Duration> {
        let create =
            CreateTask { container: made.id.clone(), rootfs: made.mounts.clone(), options: None };
        let start = process(&made.id, "");
        let begun = Instant::now();
        self.client.call::<_, Empty>("tasks.v1.Tasks/Create", create)?;
        self.client.call::<_, Empty>("tasks.v1.Tasks/Start", start)?;
        Ok(begun.elapsed())
    }

    /// Waits for the task's end, and removes all that the container is.
    pub(crate) fn remove(&mut self, made: &Made) -> Result<()> {
        let client = &mut self.client;
        client.call::<_, Empty>("tasks.v1.Tasks/Wait", process(&made.id, ""))?;
        client.call::<_, Empty>("tasks.v1.Tasks/Delete", named(made))?;
        self.unmake(made)
    }

    /// Removes a container that has no task.
    pub(crate) fn unmake(&mut self, made: &Made) -> Result<()> {
        let snapshotter = SNAPSHOTTER.into();
        let snapshot = Snapshot { snapshotter, key: made.id.clone(), parent: String::new() };
        self.client.call::<_, Empty>("snapshots.v1.Snapshots/Remove", snapshot)?;
        self.client.call::<_, Empty>("containers.v1.Containers/Delete", named(made)).map(drop)
    }

    /// Kills the task, then as [`Self::remove`].
    pub(crate) fn end(&mut self, made: &Made) -> Result<()> {
        let kill = KillTask { container: made.id.clone(), exec: String::new(), signal: SIGKILL };
        self.client.call::<_, Empty>("tasks.v1.Tasks/Kill", kill)?;
        self.remove(made)
    }

    pub(crate) fn resume(&mut self, made: &Made) -> Result<()> {
        self.client.call("tasks.v1.Tasks/Resume", named(made))
    }

    /// Runs `arguments` in a running container to the end: how long Exec and Start took.
    pub(crate) fn exec(&mut self, made: &Made, base: Base, arguments: &[&str]) -> Result<Duration> {
        let exec = self.fresh("exec");
        let mut spec = self.template(base).spec["process"].clone();
        spec["args"] = json!(arguments);
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
            value: spec.to_string().into(),
        };
        let process = process(&made.id, &exec);
        let request = ExecProcess { container: made.id.clone(), spec: Some(spec), exec };
        let begun = Instant::now();
        self.client.call::<_, Empty>("tasks.v1.Tasks/Exec", request)?;
        self.client.call::<_, Empty>("tasks.v1.Tasks/Start", process.clone())?;
        let took = begun.elapsed();
        self.client.call::<_, Empty>("tasks.v1.Tasks/Wait", process.clone())?;
        self.client.call::<_, Empty>("tasks.v1.Tasks/DeleteProcess", process)?;
        Ok(took)
    }

    /// A container whose first process does as it is told, ready to be.
    pub(crate) fn agent(&mut self, variant: Variant) -> Result<(Made, Agent)> {
        let (made, agent, _) = self.timed_agent(variant)?;
        Ok((made, agent))
    }

    /// As [`Self::agent`], with how long the task's Create and Start took.
    pub(crate) fn timed_agent(&mut self, variant: Variant) -> Result<(Made, Agent, Duration)> {
        self.agent_in(variant, Base::Debian)
    }

    /// As [`Self::timed_agent`], in another image than the Debian-like one.
    pub(crate) fn agent_in(
        &mut self,
        variant: Variant,
        base: Base,
    ) -> Result<(Made, Agent, Duration)> {
        let volume = self.folder().join("agents").join(format!("{}", self.count));
        fs::create_dir(&volume)?;
        let listener = UnixListener::bind(volume.join("socket"))?;
        let arguments = ["/bench/agent", "/ctl/socket"];
        let made = self.make(variant, base, &arguments, Some(&volume))?;
        let took = self.run(&made).with_context(|| format!("{}: starting", variant.name))?;
        let agent = Agent::accept(&listener)
            .with_context(|| format!("{}: the first process", variant.name))?;
        Ok((made, agent, took))
    }

    /// Where lacre keeps what it has hashed.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder().join("lacre/state")
    }

    /// The entries of the record file from `from` bytes on, and where it ends now.
    pub(crate) fn records(&self, from: u64) -> Result<(Vec<Value>, u64)> {
        let text = fs::read(self.folder().join("lacre/violations.jsonl")).unwrap_or_default();
        let new = text.get(usize::try_from(from)?..).unwrap_or_default();
        // A last line without its end is still being written.
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = new[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entries = lines.map(serde_json::from_slice).collect::<Result<_, _>>()?;
        Ok((entries, from + whole as u64))
    }

    /// A way that is not among [`variant::ALL`], with a file that its settings name.
    pub(crate) fn add(&self, variant: Variant, file: &str, text: &str) -> Result<()> {
        fs::write(self.folder().join(file), text)?;
        add_settings(&self.daemon, variant)
    }
}

/// Writes the settings file of a way. In the settings FOLDER and NAMESPACE stand for the
/// node's folder and the containers' namespace.
fn add_settings(daemon: &Containerd, variant: Variant) -> Result<()> {
    let Some(settings) = variant.lacre else { return Ok(()) };
    let folder = daemon.node().folder();
    let settings = settings
        .replace("FOLDER", &folder.display().to_string())
        .replace("NAMESPACE", daemon.namespace());
    Ok(fs::write(settings_of(folder, variant), config::lacre(folder, &settings))?)
}

fn process(id: &str, exec: &str) -> Process {
    Process { container: id.to_owned(), exec: exec.to_owned() }
}

fn named(made: &Made) -> Named {
    Named { name: made.id.clone() }
}

/// The one source of a way that names it.
fn source_of(variant: Variant) -> Option<&'static str> {
    variant.lacre?.split_once("sources: [")?.1.split(']').next()
}

fn runtime_name(variant: Variant) -> &'static str {
    match variant.lacre {
        Some(_) => crate::Runtime::Lacre.name(),
        None => crate::Runtime::Runc.name(),
    }
}

fn settings_of(folder: &Path, variant: Variant) -> PathBuf {
    folder.join("lacre").join(format!("{}.yaml", variant.key))
}
