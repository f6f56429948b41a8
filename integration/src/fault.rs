//! Killing what must not be killable without trace, and many containers at once.

use std::fmt;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::daemon::{Containerd, Runtime};
use crate::image::Image;
use crate::leaks::Leak;
use crate::output::wait_for;
use crate::process::{Process, alive};
use crate::sandbox::Node;

/// For one step of one container, while its neighbours use the machine too.
const STEP: Duration = Duration::from_secs(60);
/// For a process that a fault waits for; if it does not come, there is nothing to kill.
const APPEARS: Duration = Duration::from_secs(5);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// lacre's shim; under the control runtime there is none.
    Lacre,
    /// The inner shim.
    Inner,
    /// The container's first process.
    Init,
}

/// When it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As soon as it is there, while the container is being created or started.
    Starting,
    /// While the container runs.
    Running,
    /// While a second process is being started in it.
    Executing,
    /// While the container is being deleted.
    Deleting,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Who.
    pub victim: Victim,
    /// When.
    pub stage: Stage,
}

impl Fault {
    /// Every victim at every stage.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let victims = [Victim::Lacre, Victim::Inner, Victim::Init];
        let stages = [Stage::Starting, Stage::Running, Stage::Executing, Stage::Deleting];
        let pairs = victims.iter().flat_map(|v| stages.iter().map(move |s| (*v, *s)));
        pairs.map(|(victim, stage)| Self { victim, stage }).collect()
    }
}

/// The long-lived shims that containerd, or lacre, started for container (or pod) `id`.
///
/// The short-lived `start`, `delete` and `-info` calls of the same binaries are not in it.
#[must_use]
pub fn shims(node: &Node, id: &str) -> Vec<Process> {
    let short = |word: &String| ["start", "delete", "-info", "-v"].contains(&word.as_str());
    node.processes()
        .into_iter()
        .filter(|process| process.name().starts_with("containerd-shim-"))
        .filter(|process| process.value_of("-id") == Some(id))
        .filter(|process| !process.arguments.iter().any(short))
        .collect()
}

/// Finds `victim` of container `id` now.
#[must_use]
pub fn find(daemon: &Containerd, victim: Victim, id: &str) -> Option<Process> {
    let shim = |lacre: bool| {
        shims(daemon.node(), id).into_iter().find(|p| p.name().contains("lacre") == lacre)
    };
    match victim {
        Victim::Lacre => shim(true),
        Victim::Inner => shim(false),
        Victim::Init => Process::by_pid(daemon.task_pid(id).ok()??),
    }
}

/// Kills `victim` of container `id` and waits until it is dead; false if there is none.
///
/// # Errors
/// When it does not die.
pub fn kill(daemon: &Containerd, victim: Victim, id: &str) -> Result<bool> {
    let Some(process) = find(daemon, victim, id) else { return Ok(false) };
    process.signal(Signal::SIGKILL);
    wait_for(format!("{process:?} dying"), STEP, || Ok((!alive(process.pid)).then_some(())))?;
    Ok(true)
}

/// Many containers, some at a time, with faults in some of them.
#[derive(Debug)]
pub struct Storm<'a> {
    /// The daemon.
    pub daemon: &'a Containerd,
    /// What runs them.
    pub runtime: Runtime,
    /// An imported image with a shell.
    pub image: &'a Image,
    /// How many.
    pub total: usize,
    /// How many at a time.
    pub parallel: usize,
    /// The fault of the n-th.
    pub fault: fn(usize) -> Option<Fault>,
}

/// What a storm leaves; printed, a line for each.
#[derive(Debug, Default)]
pub struct Wreck {
    /// What was left behind.
    pub leaks: Vec<Leak>,
    /// What went wrong with containers that had no fault, or could not be removed.
    pub errors: Vec<String>,
    /// How many victims were found and killed.
    pub killed: usize,
}

impl fmt::Display for Wreck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} killed, {} left behind", self.killed, self.leaks.len())?;
        self.errors.iter().try_for_each(|error| writeln!(f, "{error}"))?;
        self.leaks.iter().try_for_each(|leak| writeln!(f, "{leak}"))
    }
}

impl Storm<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    /// When the daemon does not answer afterwards.
    pub fn blow(&self) -> Result<Wreck> {
        let before = self.daemon.snapshot();
        let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let errors = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..self.parallel {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.total {
                            break;
                        }
                        match self.one(number) {
                            Ok(hit) => {
                                killed.fetch_add(usize::from(hit), Ordering::Relaxed);
                            }
                            Err(error) => {
                                let said = format!("container {number}: {error:#}");
                                errors.lock().unwrap_or_else(|e| e.into_inner()).push(said);
                            }
                        }
                    }
                });
            }
        });
        self.daemon.clear()?;
        let leaks = self.daemon.leaks_since(&before);
        let errors = errors.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok(Wreck { leaks, errors, killed: killed.into_inner() })
    }

    fn one(&self, number: usize) -> Result<bool> {
        let id = format!("storm-{number}");
        let Some(fault) = (self.fault)(number) else {
            self.daemon.spawn(self.runtime, self.image, &id, &["sleep", "1000"])?;
            self.daemon.exec(&id, &["true"])?.ok()?;
            self.daemon.remove(&id)?;
            return Ok(false);
        };
        // So that a stage is not hit at the same point each time.
        let delay = Duration::from_millis(number as u64 * 7 % 60);
        let hit = self.hit(fault, &id, delay);
        self.remove_in_the_end(&id)?;
        hit
    }

    fn hit(&self, fault: Fault, id: &str, delay: Duration) -> Result<bool> {
        let runs = ["sleep", "1000"];
        if fault.stage == Stage::Starting {
            let mut command =
                self.daemon.run_command(self.runtime, &["-d", "--null-io"], self.image, id, &runs);
            return self.hit_during(fault.victim, id, delay, quiet(&mut command).spawn()?);
        }
        self.daemon.spawn(self.runtime, self.image, id, &runs)?;
        match fault.stage {
            Stage::Executing => {
                let mut command = self.daemon.ctr_command(self.daemon.namespace());
                // A ctr whose exec fails forgets its FIFOs; that is no leak of a shim's.
                let fifos = self.daemon.node().folder().join("fifo");
                command.args(["tasks", "exec", "--fifo-dir"]).arg(fifos);
                command.args(["--exec-id", "second", id, "sleep", "2"]);
                self.hit_during(fault.victim, id, delay, quiet(&mut command).spawn()?)
            }
            Stage::Deleting => {
                let mut command = self.daemon.ctr_command(self.daemon.namespace());
                command.args(["tasks", "rm", "--force", id]);
                self.hit_during(fault.victim, id, delay, quiet(&mut command).spawn()?)
            }
            Stage::Starting | Stage::Running => kill(self.daemon, fault.victim, id),
        }
    }

    /// Kills the victim while `client` waits for containerd; the client must then end.
    fn hit_during(
        &self,
        victim: Victim,
        id: &str,
        delay: Duration,
        mut client: Child,
    ) -> Result<bool> {
        thread::sleep(delay);
        let hit = wait_for("the victim", APPEARS, || {
            let over = client.try_wait()?.is_some();
            let hit = kill(self.daemon, victim, id)?;
            Ok((over || hit).then_some(hit))
        })
        .unwrap_or(false);
        let ended = wait_for("the client's end", STEP, || Ok(client.try_wait()?.map(drop)));
        if ended.is_err() {
            client.kill()?;
            client.wait()?;
            bail!("{id}: the client hangs after {victim:?} was killed");
        }
        Ok(hit)
    }

    /// Removal may have to wait until containerd has seen the death.
    fn remove_in_the_end(&self, id: &str) -> Result<()> {
        let mut last = String::new();
        let gone = wait_for(format!("{id} going"), STEP, || {
            let removed = self.daemon.remove(id);
            last = removed.err().map_or_else(String::new, |error| format!("{error:#}"));
            Ok((last.is_empty() || last.contains("not found")).then_some(()))
        });
        gone.map_err(|error| error.context(last))
    }
}

fn quiet(command: &mut std::process::Command) -> &mut std::process::Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}
