//! The seam between the wrapper and what guards the containers.
//!
//! The wrapper calls a [`Guard`] at the moments of a container's life, and forwards no
//! `Start` without the [`Permit`] that only a guard makes. What the guard does on its own
//! account goes through [`Inner`](crate::task::Inner) and
//! [`Events`](crate::events::Events).

mod compose;
mod container;
mod evidence;
mod identity;
mod judge;
mod lacre;
mod layers;
mod left;
mod none;
mod permit;
mod policies;
mod respond;
mod runtime;
mod sources;
mod stream;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::messages::{CreateRequest, ExecRequest, KillRequest, ProcessId, Status};
use crate::ttrpc::{self, Code};

pub use compose::{Context, GuardError, compose};
pub(crate) use left::{Left, forget};
pub use none::NoGuard;
pub use permit::{Exempt, Permit};

use lacre::Shared;

/// Who watches the containers of one inner shim. Called from one thread; several calls may
/// wait at the same time, those on one container too.
///
/// For one container the wrapper promises: `create` is called first and once; `start` only
/// after `create` has returned; `started` after a `start` was permitted and done; `deleted`
/// last, and after it the id may come again.
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// A container is being created: called at the same time as the inner shim is asked, so
    /// that the baseline loads while runc works. `created` gives the init's process id once
    /// the inner shim has answered, and then the sources can be armed.
    ///
    /// It is not cancelled when containerd goes away meanwhile.
    async fn create(&self, request: CreateRequest, created: Created);

    /// Whether a process may start: the container's init, or an exec.
    ///
    /// # Errors
    /// Why not; the caller is told.
    async fn start(&self, process: &ProcessId) -> Result<Permit, Refusal>;

    /// A process has started. To learn of its end, wait for it through
    /// [`Inner::wait`](crate::task::Inner::wait).
    async fn started(&self, process: &ProcessId, pid: u32);

    /// Whether a process may be added to a container; it starts later, by `start`.
    ///
    /// # Errors
    /// Why not; the caller is told.
    async fn exec(&self, request: &ExecRequest) -> Result<(), Refusal>;

    /// The inner shim has deleted a process: with an empty `exec_id`, the container. The
    /// caller is told only when this has returned.
    async fn deleted(&self, process: &ProcessId);

    /// A client wants the container frozen.
    async fn pause(&self, id: &str) -> Handling;

    /// A client wants the container thawed.
    async fn resume(&self, id: &str) -> Handling;

    /// A client sends a signal.
    async fn kill(&self, request: &KillRequest) -> Handling;

    /// The status that a client is told, given the inner shim's. Returns at once.
    fn status(&self, process: &ProcessId, status: Status) -> Status;

    /// The inner shim has gone, and with it the last container: what is left to do before
    /// this process ends, within two seconds.
    async fn shutdown(&self);
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

/// The process id of a container's init, to come.
#[derive(Debug)]
pub struct Created(pub(crate) oneshot::Receiver<u32>);

impl Created {
    /// A promise and its keeper, for tests of a guard.
    #[must_use]
    pub fn pair() -> (oneshot::Sender<u32>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Waits for it; `None` when the inner shim refused, or its answer was lost: then there
    /// is no container to start, and no `deleted` will come.
    pub async fn pid(self) -> Option<u32> {
        self.0.await.ok()
    }
}
