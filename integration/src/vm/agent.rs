//! The guest's side: its only service.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lacre_containerd::{Client, Status};
use libbpf_rs::{MapCore as _, MapFlags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::deadline::SOON;
use super::follow_latency;
use super::rootfs::{NAMESPACE, NODES, PROGRAMS_OF_VERSIONS, VERSIONS};
use super::wire::{self, Answer, Hello, Request};
use crate::demo_cases::{self, Case, POLICY, Row};
use crate::output::{Output, wait_for};
use crate::{Runtime, config, daemon};

/// What a distribution's udev would name after the port.
const PORT: &str = "/dev/vport0p1";
const BIN: &str = "/lacre/bin";
const OBJECT: &str = "/lacre/lsm.bpf.o";
const CONFIG: &str = "/etc/lacre/config.yaml";
const OWN_CONFIG: &str = "mode: enforce\n";
const RECORDS: &str = "/var/log/lacre/violations.jsonl";

/// What makes the agent let go of a container-IMA list instead of serving requests.
pub const LET_GO: &str = "let-go";

/// Lets go of a list, as somebody may who has nothing to do with its container.
///
/// # Errors
/// When the kernel has no such list.
pub fn let_go(list: &str) -> Result<()> {
    let control = File::open("/sys/kernel/security/ima/containers/control")?;
    lacre_sys::ima_container::release(control.as_fd(), list)
        .with_context(|| format!("letting go of {list}"))
}

/// Serves requests until the test has gone.
///
/// # Errors
/// When the port cannot be had, or does not speak JSON.
pub fn serve() -> Result<()> {
    wait_for("the port", SOON, || {
        Ok(fs::metadata(PORT).is_ok_and(|meta| meta.file_type().is_char_device()).then_some(()))
    })?;
    let mut port = File::options().read(true).write(true).open(PORT)?;
    let mut requests = BufReader::new(port.try_clone()?);
    fs::write(CONFIG, OWN_CONFIG)?;
    fs::write("/etc/lacre/policy.yaml", POLICY)?;
    port.write_all(&wire::line(&hello()?)?)?;
    let mut agent = Agent::default();
    while let Some(request) = wire::read(&mut requests)? {
        let answer = match agent.answer(&request) {
            Ok(value) => Answer::Done(value),
            Err(error) => Answer::Failed(format!("{error:#}{}", agent.logs())),
        };
        port.write_all(&wire::line(&answer)?)?;
        if request == Request::Reboot {
            reboot()?;
        }
    }
    Ok(())
}

/// Nothing is asked to end, as when somebody presses the button; what was written is there
/// when it comes back.
fn reboot() -> Result<()> {
    // All but this process and the first.
    kill(Pid::from_raw(-1), Signal::SIGKILL)?;
    // The file system has no journal, and is left as one that is whole.
    wait_for("nobody writing to the disk", SOON, || {
        let said = Output::of(Command::new("mount").args(["-o", "remount,ro", "/"]))?;
        Ok((said.code == 0).then_some(()))
    })?;
    Output::of(Command::new("reboot").arg("-f"))?.ok().map(drop)
}

/// A shim reads its configuration when it starts.
fn configured<T>(config: Option<&str>, doing: impl FnOnce() -> Result<T>) -> Result<T> {
    if let Some(config) = config {
        fs::write(CONFIG, config)?;
    }
    let done = doing();
    fs::write(CONFIG, OWN_CONFIG)?;
    done
}

fn hello() -> Result<Hello> {
    let text = |path| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let uptime = text("/proc/uptime")?;
    let seconds: f64 = uptime.split(' ').next().unwrap_or_default().parse()?;
    let uptime_ms = (seconds * 1000.0) as u64;
    let release = text("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(Hello { release, uptime_ms, tpm: Path::new("/dev/tpm0").exists() })
}

/// What has been started.
#[derive(Debug, Default)]
struct Agent {
    daemons: BTreeMap<String, Daemon>,
    cases: u32,
}

impl Agent {
    fn answer(&mut self, request: &Request) -> Result<Value> {
        match request {
            Request::Case { id, containerd, config } => {
                self.cases += 1;
                let case = Case::named(id).with_context(|| format!("no case is called {id}"))?;
                let id = format!("{id}-{}", self.cases);
                let daemon = self.daemon(containerd)?;
                let row = configured(config.as_deref(), || daemon.run(&case, &id))?;
                Ok(serde_json::to_value(row)?)
            }
            Request::Run { script, containerd, config } => {
                let mut command = match containerd {
                    Some(version) => self.daemon(version)?.command("sh"),
                    None => Command::new("sh"),
                };
                command.args(["-c", script]);
                let said = configured(config.as_deref(), || Output::within(SOON, &mut command))?;
                Ok(json!(said.ok()?))
            }
            Request::Violation { id, word } => {
                let found = wait_for(format!("a record of {id} with {word}"), SOON, || {
                    let records = demo_cases::records(Path::new(RECORDS), id)?;
                    let has = |record: &Value| record.to_string().contains(word.as_str());
                    Ok(records.iter().any(has).then_some(records))
                })?;
                Ok(json!(found))
            }
            Request::Following { programs, beside } => {
                Ok(serde_json::to_value(follow_latency::follow(*programs, *beside)?)?)
            }
            Request::Read { path } => {
                let bytes = fs::read(path).with_context(|| format!("reading {path}"))?;
                Ok(json!(wire::hex(&bytes)))
            }
            Request::LsmProgram => Ok(json!(lsm_program()?)),
            Request::Reboot => Ok(Value::Null),
        }
    }

    fn daemon(&mut self, version: &str) -> Result<&Daemon> {
        if !self.daemons.contains_key(version) {
            self.daemons.insert(version.to_owned(), Daemon::start(version)?);
        }
        Ok(&self.daemons[version])
    }

    /// The end of what the daemons have logged.
    fn logs(&self) -> String {
        let log = |daemon: &Daemon| fs::read_to_string(daemon.folder.join("log")).ok();
        self.daemons
            .values()
            .filter_map(log)
            .map(|log| format!("\n{}", daemon::tail(&log)))
            .collect()
    }
}

/// One containerd.
#[derive(Debug)]
struct Daemon {
    folder: PathBuf,
    path: String,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start(name: &str) -> Result<Self> {
        let version = VERSIONS.into_iter().find(|version| version.name() == name);
        let version = version.with_context(|| format!("no containerd {name} in this guest"))?;
        let folder = Path::new(NODES).join(name);
        // A distribution has it below /run, where nothing outlives a boot.
        let _ = fs::remove_dir_all(folder.join("state"));
        let path = format!("{BIN}:{PROGRAMS_OF_VERSIONS}/{name}:/opt/runc:/bin:/sbin");
        let settings = folder.join("config.toml");
        fs::write(&settings, config::containerd(version, &folder, false, "info", None))?;
        let socket = folder.join("containerd.sock").display().to_string();
        let client = Client::new(&socket, NAMESPACE).with_deadline(SOON);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let daemon = Self { folder, path, client, runtime };
        let log = File::create(daemon.folder.join("log"))?;
        let mut command = daemon.command("containerd");
        command.arg("--config").arg(settings).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().context("starting containerd")?;
        wait_for(format!("containerd {name} answering"), SOON, || {
            ensure!(child.try_wait()?.is_none(), "containerd {name} has ended");
            Ok(daemon.runtime.block_on(daemon.client.tasks()).ok().map(drop))
        })?;
        Ok(daemon)
    }

    fn command(&self, program: &str) -> Command {
        // As `exec` by the shell: the child's own PATH is the one that finds it.
        let mut command = Command::new("/bin/env");
        command
            .arg(program)
            .env("PATH", &self.path)
            .env("LACRE_CONFIG", CONFIG)
            .env("CONTAINERD_ADDRESS", self.folder.join("containerd.sock"))
            .env("CONTAINERD_NAMESPACE", NAMESPACE)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, case: &Case, id: &str) -> Result<Row> {
        let mut command = self.command("ctr");
        command.args(["run", "--detach", "--runtime", Runtime::Lacre.name()]);
        command.arg("--log-uri").arg(format!("file:///tmp/{id}.out"));
        match case.image {
            Some(image) => command.arg(image),
            None => {
                let rootfs =
                    demo_cases::plain_rootfs(&self.folder.join(id), Path::new("/bin/busybox"))?;
                command.arg("--rootfs").arg(rootfs)
            }
        };
        let ran = Output::within(SOON, command.arg(id).args(["/bin/sh", "-c", case.script]))?;
        // A refusal to start is one of the ways in which a container with no image may end.
        if case.image.is_some() {
            ran.ok().with_context(|| format!("starting {id}"))?;
        }
        let records = || demo_cases::records(Path::new(RECORDS), id);
        match case.expected {
            Some(_) => wait_for(format!("a record of {id}"), SOON, || {
                Ok((!records()?.is_empty()).then_some(()))
            })?,
            // The script's last program runs: all the others have.
            None => wait_for("the script's end", SOON, || Ok(self.sleeps(id)?.then_some(())))?,
        }
        let wanted = demo_cases::state_after(&records()?);
        let state = wait_for(format!("{id} being {wanted:?}"), SOON, || {
            let state = self.state(id)?;
            Ok(wanted.is_none_or(|wanted| wanted == state).then_some(state))
        })?;
        let row = Row::new(case, &records()?, state);
        let mut remove = self.command("ctr");
        Output::within(SOON, remove.args(["tasks", "rm", "--force", id]))?;
        let mut remove = self.command("ctr");
        Output::within(SOON, remove.args(["containers", "rm", id]))?.ok()?;
        Ok(row)
    }

    fn state(&self, id: &str) -> Result<String> {
        let word = match self.runtime.block_on(self.client.task(id)) {
            Ok(task) => match task.status {
                Status::Created => "CREATED",
                Status::Running => "RUNNING",
                Status::Stopped => "STOPPED",
                Status::Paused => "PAUSED",
                Status::Pausing => "PAUSING",
                Status::Unknown => "UNKNOWN",
            },
            Err(lacre_containerd::Error::NotFound { .. }) => "no task",
            Err(error) => return Err(error.into()),
        };
        Ok(word.to_owned())
    }

    fn sleeps(&self, id: &str) -> Result<bool> {
        let pids = self.runtime.block_on(self.client.task_pids(id))?;
        let comm = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm"));
        Ok(pids.iter().any(|pid| comm(pid).is_ok_and(|comm| comm == "sleep\n")))
    }
}

/// Loads and attaches the program of the second disk; how often it was called while one
/// program was executed.
fn lsm_program() -> Result<u64> {
    let object = libbpf_rs::ObjectBuilder::default()
        .open_file(OBJECT)
        .and_then(|object| object.load())
        .context("loading a BPF program of type LSM")?;
    let links =
        object.progs_mut().map(|program| program.attach_lsm()).collect::<Result<Vec<_>, _>>();
    let _links = links.context("attaching a BPF program of type LSM")?;
    Output::within(SOON, &mut Command::new("true"))?.ok()?;
    let counters = object.maps().find(|map| map.name().to_string_lossy().ends_with(".bss"));
    let counters = counters.context("the BPF object has no .bss")?;
    let value = counters.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?.context("an empty .bss")?;
    Ok(u64::from_ne_bytes(value.get(..8).context("a short .bss")?.try_into()?))
}
