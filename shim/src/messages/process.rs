//! The container's first process, or one that came by exec, in each call's fields.

use super::{
    DeleteRequest, ExecProcessRequest, KillRequest, StartRequest, StateRequest, WaitRequest,
};

/// A process of a container: the init, or one that came by exec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ProcessId {
    /// The container.
    pub id: String,
    /// The exec, or empty for the container's init.
    pub exec_id: String,
}

impl ProcessId {
    /// The init of a container.
    #[must_use]
    pub fn init(id: impl Into<String>) -> Self {
        Self { id: id.into(), exec_id: String::new() }
    }

    /// Whether it is the container's init.
    #[must_use]
    pub fn is_init(&self) -> bool {
        self.exec_id.is_empty()
    }

    /// A signal to it, and to no other.
    #[must_use]
    pub fn killed_by(&self, signal: u32) -> KillRequest {
        let Self { id, exec_id } = self.clone();
        KillRequest { id, exec_id, signal, ..KillRequest::default() }
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)?;
        if self.is_init() { Ok(()) } else { write!(f, " (exec {})", self.exec_id) }
    }
}

/// A request that is about one process.
pub trait OfProcess {
    /// Which.
    fn process(&self) -> ProcessId;
}

macro_rules! of_process {
    ($($request:ty),*) => {$(
        impl OfProcess for $request {
            fn process(&self) -> ProcessId {
                ProcessId { id: self.id.clone(), exec_id: self.exec_id.clone() }
            }
        }
        impl From<&ProcessId> for $request {
            fn from(process: &ProcessId) -> Self {
                let ProcessId { id, exec_id } = process.clone();
                Self { id, exec_id, ..Self::default() }
            }
        }
    )*};
}

of_process!(
    DeleteRequest,
    ExecProcessRequest,
    KillRequest,
    StartRequest,
    StateRequest,
    WaitRequest
);
