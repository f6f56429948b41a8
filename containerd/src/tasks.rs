//! What runs: the state of tasks, and what is done to them.

use crate::{Client, Error, wire};

const GET: &str = "/containerd.services.tasks.v1.Tasks/Get";
const LIST: &str = "/containerd.services.tasks.v1.Tasks/List";
const KILL: &str = "/containerd.services.tasks.v1.Tasks/Kill";
const DELETE: &str = "/containerd.services.tasks.v1.Tasks/Delete";
const PAUSE: &str = "/containerd.services.tasks.v1.Tasks/Pause";
const RESUME: &str = "/containerd.services.tasks.v1.Tasks/Resume";
const WAIT: &str = "/containerd.services.tasks.v1.Tasks/Wait";
const PIDS: &str = "/containerd.services.tasks.v1.Tasks/ListPids";

/// What a task does (containerd's `types/task.proto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The shim does not tell.
    Unknown,
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, not deleted.
    Stopped,
    /// Frozen.
    Paused,
    /// About to be frozen.
    Pausing,
}

/// A container's task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The container's id.
    pub container: String,
    /// The pid of its init.
    pub pid: u32,
    /// What it does.
    pub status: Status,
    /// How it ended, when it has.
    pub exit_status: u32,
}

impl Client {
    /// A container's task.
    ///
    /// # Errors
    /// When it has none, or containerd does not tell.
    pub async fn task(&self, container: &str) -> Result<Task, Error> {
        let answer: wire::OneTask = self.unary(GET, container, named(container)).await?;
        let process = answer.process.ok_or_else(|| Error::Answer {
            call: crate::client::short(GET),
            on: container.into(),
            problem: "there is no process in it".into(),
        })?;
        // Get leaves the container's id out, and gives it as the process's.
        Ok(Task { container: container.into(), ..process.into() })
    }

    /// The tasks of the namespace.
    ///
    /// # Errors
    /// When containerd does not tell.
    pub async fn tasks(&self) -> Result<Vec<Task>, Error> {
        let answer: wire::Tasks = self.unary(LIST, self.namespace(), wire::Empty {}).await?;
        Ok(answer.tasks.into_iter().map(Task::from).collect())
    }

    /// Sends a signal to a task's init, or to all its processes.
    ///
    /// # Errors
    /// When there is no task, or it is not running.
    pub async fn kill_task(&self, container: &str, signal: u32, all: bool) -> Result<(), Error> {
        let request =
            wire::KillTask { container: container.into(), exec: String::new(), signal, all };
        self.unary::<_, wire::Empty>(KILL, container, request).await?;
        Ok(())
    }

    /// Deletes a task that has ended, and tells how it ended.
    ///
    /// # Errors
    /// When there is no task, or it still runs.
    pub async fn delete_task(&self, container: &str) -> Result<u32, Error> {
        let answer: wire::Exited = self.unary(DELETE, container, named(container)).await?;
        Ok(answer.exit_status)
    }

    /// Waits until a task has ended, but no longer than the client's deadline, and tells how
    /// it ended.
    ///
    /// # Errors
    /// When there is no task, or it has not ended by then.
    pub async fn wait_task(&self, container: &str) -> Result<u32, Error> {
        let answer: wire::Waited = self.unary(WAIT, container, named(container)).await?;
        Ok(answer.exit_status)
    }

    /// Freezes a task, through its shim.
    ///
    /// # Errors
    /// When there is no task, or it is not running.
    pub async fn pause_task(&self, container: &str) -> Result<(), Error> {
        self.unary::<_, wire::Empty>(PAUSE, container, named(container)).await?;
        Ok(())
    }

    /// Thaws a task, through its shim.
    ///
    /// # Errors
    /// When there is no task, or it is not paused.
    pub async fn resume_task(&self, container: &str) -> Result<(), Error> {
        self.unary::<_, wire::Empty>(RESUME, container, named(container)).await?;
        Ok(())
    }

    /// The pids of a task's processes, as its shim knows them.
    ///
    /// # Errors
    /// When there is no task, or the shim does not tell.
    pub async fn task_pids(&self, container: &str) -> Result<Vec<u32>, Error> {
        let answer: wire::Pids = self.unary(PIDS, container, named(container)).await?;
        Ok(answer.processes.into_iter().map(|process| process.pid).collect())
    }
}

fn named(container: &str) -> wire::Named {
    wire::Named { name: container.into() }
}

impl From<wire::Process> for Task {
    fn from(wire: wire::Process) -> Self {
        let status = match wire.status {
            1 => Status::Created,
            2 => Status::Running,
            3 => Status::Stopped,
            4 => Status::Paused,
            5 => Status::Pausing,
            _ => Status::Unknown,
        };
        let container = if wire.container.is_empty() { wire.id } else { wire.container };
        Self { container, pid: wire.pid, status, exit_status: wire.exit_status }
    }
}
