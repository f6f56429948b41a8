//! The seam between the wrapper and what guards the containers.

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::start_permit::Permit;
use crate::container::charter::Charter;
use crate::container::generation::Generation;
use crate::container::init::{Candidate, InitError};
use crate::container::telling::{Released, Telling};
use crate::messages::{CreateTaskRequest, ExecProcessRequest, KillRequest, ProcessId, Status};
use crate::node::process;
use crate::node::runtime::Runtime;
use crate::ttrpc::{self, Code};

/// Who watches the containers of one inner shim. Called from one thread; several calls may
/// wait at the same time, those on one container too.
///
/// For one container the wrapper promises: `create` is called first and once; `start` only
/// after `create` has returned; `started` after a `start` was permitted and done. An id may
/// come again, before the end of the container that had it has come to its own: what ends is
/// told by its generation.
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// A container is being created: called at the same time as the inner shim is asked, so
    /// that the baseline loads while runc works. `created` gives the init once the inner shim
    /// has answered, and then the sources can be armed.
    ///
    /// It is not cancelled when containerd goes away meanwhile.
    async fn create(&self, request: CreateTaskRequest, created: Created);

    /// Whether a process may start: the container's init, or an exec.
    ///
    /// # Errors
    /// Why not; the caller is told.
    async fn start(&self, process: &ProcessId) -> Result<Permit, Refusal>;

    /// A process has started. To learn of its end, wait for it through
    /// [`Inner::wait`](crate::inner::client::Inner::wait).
    async fn started(&self, process: &ProcessId, pid: u32);

    /// Whether a process may be added to a container; it starts later, by `start`.
    ///
    /// # Errors
    /// Why not; the caller is told.
    async fn exec(&self, request: &ExecProcessRequest) -> Result<(), Refusal>;

    /// A container is to end: the inner shim has deleted it, or root says so. Returns when no
    /// process of it is left, and it is disarmed and accounted for; at once for one that is
    /// not known. The caller is told only then.
    async fn end(&self, generation: &Generation);

    /// A client wants the container frozen.
    async fn pause(&self, id: &str) -> Handling;

    /// A client wants the container thawed.
    async fn resume(&self, id: &str) -> Handling;

    /// A client sends a signal.
    async fn kill(&self, request: &KillRequest) -> Handling;

    /// The status that a client is told, given the inner shim's. Returns at once.
    fn status(&self, process: &ProcessId, status: Status) -> Status;

    /// What there is to tell, of all containers or of one; that one's with its rules. It changes
    /// nothing and waits for nothing but a few files of the kernel's; called from any thread.
    fn tell(&self, only: Option<&Generation>) -> Telling;

    /// An operator lets a container go on: PAUSE and ISOLATE are undone. `by` is who asks, for the
    /// record.
    async fn release(&self, generation: &Generation, by: Operator) -> Result<Released, Refusal>;

    /// The inner shim has ended. Its containers stay guarded; returns when no process of any
    /// is left, and each is disarmed and accounted for.
    async fn inner_gone(&self);

    /// Nothing is guarded any more: what is left to do before this process ends, within two
    /// seconds.
    async fn shutdown(&self);
}

/// Who gives an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// As the kernel has it.
    pub uid: u32,
    /// As whom they logged in (audit(7)'s login uid), where that is known.
    pub login: Option<u32>,
    /// Why.
    pub reason: String,
}

/// What becomes of a client's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handling {
    /// The inner shim answers.
    Forward,
    /// It is done; the inner shim is not asked.
    Done,
    /// It is refused; the inner shim is not asked.
    Refuse(Refusal),
}

/// Why a call is refused: what a person reads, who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    code: Code,
    message: String,
}

impl Refusal {
    /// Never, as things are decided: `PERMISSION_DENIED`. `message` says why, and what to do.
    #[must_use]
    pub fn denied(message: impl AsRef<str>) -> Self {
        Self::new(Code::PermissionDenied, message.as_ref())
    }

    /// Not now, in the state that things are in: `FAILED_PRECONDITION`.
    #[must_use]
    pub fn not_ready(message: impl AsRef<str>) -> Self {
        Self::new(Code::FailedPrecondition, message.as_ref())
    }

    pub(crate) fn new(code: Code, message: &str) -> Self {
        Self { code, message: format!("lacre: {message}") }
    }

    pub(crate) fn into_status(self) -> ttrpc::Status {
        ttrpc::Status::new(self.code, self.message)
    }
}

/// A container's first process, to come.
#[derive(Debug)]
pub struct Created {
    named: oneshot::Receiver<Result<Candidate, InitError>>,
    /// What is known of the container already.
    pub(crate) charter: Charter,
    /// When it was asked for, in clock ticks after boot.
    pub(crate) asked: u64,
    /// Why what runs it is not what the node lists, in audit mode.
    pub(crate) doubts: Vec<String>,
    /// What runs it.
    pub(crate) runtime: Option<Runtime>,
}

impl Created {
    /// A promise and its keeper, for a container that is asked for now; `doubts` say why what
    /// runs it is not what the node lists.
    pub(crate) fn pair(
        charter: Charter,
        doubts: Vec<String>,
        runtime: Option<Runtime>,
    ) -> (oneshot::Sender<Result<Candidate, InitError>>, Self) {
        let (sender, named) = oneshot::channel();
        (sender, Self { named, charter, asked: process::ticks(), doubts, runtime })
    }

    /// Waits for whom the inner shim names; `None` when it refused, or its answer was lost:
    /// then there is no container to start.
    pub(crate) async fn named(&mut self) -> Option<Result<Candidate, InitError>> {
        (&mut self.named).await.ok()
    }
}
