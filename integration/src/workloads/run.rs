//! One workload: plain runc first, then lacre in every mode at once.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::expectation::{Work, end_of, records, violations, worked};
use super::workload::{Mode, Mount, Start, Workload};
use super::{image_name, of_image};
use crate::output::Output;
use crate::paths::cached;
use crate::{Containerd, Image, Runtime, Version};

/// For a large image to be unpacked on a busy machine.
const IMPORT: Duration = Duration::from_secs(600);

/// A daemon with one of the images.
#[derive(Debug)]
pub struct Lab<'a> {
    daemon: &'a Containerd,
    image: Image,
    work: Duration,
}

/// One run of a workload under lacre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    mode: Mode,
    /// Whether the policy allows what did not come with the image.
    allowed: bool,
}

impl Setting {
    fn name(self) -> String {
        format!("{}{}", self.mode.name(), if self.allowed { ", allowed" } else { "" })
    }

    /// The same, in the name of a container.
    fn tag(self) -> String {
        self.name().replace(", ", "-")
    }
}

impl<'a> Lab<'a> {
    /// Brings the image into the daemon; each run works for `work`.
    ///
    /// # Errors
    /// When it was not made, or can't be imported.
    pub fn new(daemon: &'a Containerd, image: &str, work: Duration) -> Result<Self> {
        let archive = cached(&format!("workloads/{image}.tar"))
            .context("the images of the workloads: run integration/workloads/prepare.sh")?;
        let mut import = daemon.ctr_command(daemon.namespace());
        import.args(["images", "import"]).arg(archive);
        Output::within(IMPORT, &mut import)?.ok().with_context(|| format!("importing {image}"))?;
        Ok(Self { daemon, image: Image::new(image_name(image)), work })
    }

    /// Runs it in every mode; returns the lines of figures. Whether the script is right, runc
    /// alone shows in a quarter of the time.
    ///
    /// # Errors
    /// With all that is not as it must be, in each mode.
    pub fn run(&self, workload: &Workload) -> Result<Vec<String>> {
        let alone = self.work / 4;
        let limit = Workload::limit(alone, Duration::from_secs(60));
        let control = self.container(workload, Runtime::Runc, "runc", (alone, limit), &[])?;
        let control = worked(&control).with_context(|| format!("{}: runc alone", workload.name))?;
        let beside = Duration::from_secs(control.seconds).saturating_sub(alone);
        let limit = Workload::limit(self.work, beside);
        let mut figures = vec![figure(workload, "runc", &control, 0)];
        let mut settings: Vec<_> =
            Mode::ALL.iter().map(|mode| Setting { mode: *mode, allowed: false }).collect();
        if !workload.foreign.is_empty() {
            settings.extend([Mode::Exec, Mode::All].map(|mode| Setting { mode, allowed: true }));
        }
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let one = |setting| scope.spawn(move || self.guarded(workload, setting, limit));
            let running: Vec<_> = settings.iter().map(|setting| one(*setting)).collect();
            let died = || Err(anyhow::anyhow!("the thread died"));
            running.into_iter().map(|run| run.join().unwrap_or_else(|_| died())).collect()
        });
        let mut wrong = String::new();
        for (setting, outcome) in settings.iter().zip(outcomes) {
            match outcome {
                Ok(line) => figures.push(line),
                Err(error) => {
                    let _ = writeln!(wrong, "{}, {}: {error:#}", workload.name, setting.name());
                    let id = id(workload, &setting.tag());
                    let log = self.daemon.log();
                    for line in log.lines().filter(|line| line.contains(&id)) {
                        let _ = writeln!(wrong, "  {line}");
                    }
                }
            }
        }
        ensure!(wrong.is_empty(), "{wrong}");
        Ok(figures)
    }

    /// Runs it under lacre, and judges what came of it.
    fn guarded(&self, workload: &Workload, setting: Setting, limit: Duration) -> Result<String> {
        let tag = setting.tag();
        let files = self.daemon.node().folder().join("lacre");
        let file = |suffix: &str| files.join(format!("{}-{tag}.{suffix}", workload.name));
        let (config, policy, log) = (file("yaml"), file("policy.yaml"), file("jsonl"));
        let rules = if setting.allowed {
            workload.policy(self.image.name())
        } else {
            "Actions: {}\n".into()
        };
        fs::write(&policy, rules)?;
        let yaml = format!(
            "{}policy: {}\nrecords: {}\nstate: {}\nrun: /run/lacre\n",
            setting.mode.yaml(),
            policy.display(),
            log.display(),
            files.join("state").display(),
        );
        fs::write(&config, yaml)?;
        let config = config.display().to_string();
        let options = ["--runtime-config-path", &config];
        let said = self.container(workload, Runtime::Lacre, &tag, (self.work, limit), &options)?;
        let all = violations(&fs::read_to_string(&log).unwrap_or_default())?;
        let told = records(workload, setting.mode, setting.allowed, &all);
        let refuses = setting.mode != Mode::Audit && !setting.allowed;
        if refuses && workload.seen_in(setting.mode).next().is_some() {
            told?;
            if workload.goes_on {
                worked(&said)?;
            } else {
                ensure!(said.code != 0, "it was refused, and went on: {}", end_of(&said));
            }
            return Ok(format!(
                "figure: {}, {}: refused, {} records",
                workload.name,
                setting.name(),
                all.len()
            ));
        }
        match (worked(&said), told) {
            (Ok(work), Ok(())) => Ok(figure(workload, &setting.name(), &work, all.len())),
            (Err(broken), Ok(())) => Err(broken),
            (Ok(_), Err(told)) => Err(told),
            (Err(broken), Err(told)) => bail!("{broken:#}\n{told:#}"),
        }
    }

    fn container(
        &self,
        workload: &Workload,
        runtime: Runtime,
        tag: &str,
        (work, limit): (Duration, Duration),
        more: &[&str],
    ) -> Result<Output> {
        let id = id(workload, tag);
        let seconds = format!("WORK_SECONDS={}", work.as_secs());
        let mut options: Vec<String> = ["--rm", "--env", &seconds].map(String::from).to_vec();
        if matches!(workload.start, Start::Init(_)) {
            options.extend(["--env".into(), format!("WORK={}", workload.whole_script())]);
            // Without it, systemd powers the machine off at the end, and has no exit code.
            options.extend(["--env", "container=containerd"].map(String::from));
        }
        for mount in workload.mounts {
            options.extend(["--mount".into(), self.mount(*mount, &id)?]);
        }
        // Not through `ctr`, which has lost what a container of half a second said: one of 200.
        let log = self.daemon.node().folder().join(format!("lacre/{id}.said"));
        let _ = fs::remove_file(&log);
        options.extend(["--log-uri".into(), format!("file://{}", log.display())]);
        options.extend(workload.options.iter().chain(more).map(ToString::to_string));
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let arguments = workload.arguments();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut command = self.daemon.run_command(runtime, &options, &self.image, &id, &arguments);
        command.stdin(Stdio::null());
        let said = Output::within(limit, &mut command);
        let Ok(mut said) = said else {
            self.daemon.remove(&id).with_context(|| format!("{id} hangs, and can't be removed"))?;
            return said;
        };
        said.stdout += &fs::read_to_string(&log)?;
        if let Ok(text) = fs::read_to_string(self.folder(&id).join("said")) {
            said.stdout += &text;
        }
        Ok(said)
    }

    /// Where that lies which is mounted into a container.
    fn folder(&self, id: &str) -> PathBuf {
        self.daemon.node().folder().join(format!("mounts/{id}"))
    }

    /// Lays out what a mount brings, and returns `ctr`'s word for it.
    fn mount(&self, mount: Mount, id: &str) -> Result<String> {
        let folder = self.folder(id);
        let bind = |from: PathBuf, to: &str| {
            format!("type=bind,src={},dst={to},options=rbind:ro", from.display())
        };
        Ok(match mount {
            Mount::Scratch(to) => {
                format!("type=tmpfs,src=tmpfs,dst={to},options=rw:nosuid:mode=1777")
            }
            Mount::Said(to) => {
                fs::create_dir_all(&folder)?;
                bind(folder, to).replace("rbind:ro", "rbind:rw")
            }
            Mount::Program(to) => bind(cached("tools/bin/busybox")?, to),
            Mount::ConfigMap(to) => {
                let dated = folder.join("..2026_01_01");
                fs::create_dir_all(&dated)?;
                for (name, text) in CONFIG_MAP {
                    use std::os::unix::fs::{PermissionsExt as _, symlink};
                    fs::write(dated.join(name), text)?;
                    fs::set_permissions(dated.join(name), fs::Permissions::from_mode(0o755))?;
                    symlink(format!("..data/{name}"), folder.join(name))?;
                }
                std::os::unix::fs::symlink("..2026_01_01", folder.join("..data"))?;
                bind(folder, to)
            }
        })
    }
}

/// What the ConfigMap of [`Mount::ConfigMap`] holds.
const CONFIG_MAP: [(&str, &str); 3] = [
    ("run.sh", "#!/bin/sh\necho \"run $1\"\n"),
    ("check.py", "import sys\nprint('check', sys.argv[1])\n"),
    ("settings.conf", "answer = 42\n"),
];

/// What the container is called in which it runs so.
fn id(workload: &Workload, tag: &str) -> String {
    format!("{}-{tag}", workload.name)
}

fn figure(workload: &Workload, how: &str, work: &Work, records: usize) -> String {
    format!(
        "figure: {}, {how}: {} s, {} checks, {records} records",
        workload.name, work.seconds, work.checks
    )
}

/// Runs workloads of an image, those that `wanted` takes; `tell` is told the figures as they come.
///
/// # Errors
/// With all that is not as it must be.
pub fn run(
    image: &str,
    work: Duration,
    wanted: impl Fn(&Workload) -> bool,
    tell: impl Fn(&str),
) -> Result<()> {
    Containerd::start(Version::V2_1)?.check(|daemon| {
        let lab = Lab::new(daemon, image, work)?;
        let mut wrong = Vec::new();
        let mut green = 0;
        for workload in of_image(image).iter().filter(|workload| wanted(workload)) {
            match lab.run(workload) {
                Ok(figures) => {
                    green += 1;
                    figures.iter().for_each(|line| tell(line));
                }
                Err(error) => {
                    let all = format!("{error:#}");
                    tell(&format!("figure: {}: FAILED\n{all}", workload.name));
                    wrong.push(all);
                }
            }
        }
        let all = green + wrong.len();
        tell(&format!("figure: {image}: {green} of {all} workloads as expected"));
        ensure!(all > 0, "no workload of {image} was chosen");
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}
