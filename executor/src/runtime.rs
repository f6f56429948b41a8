//! What the executor asks of the inner shim, as a trait that the shim implements.

use std::future::Future;
use std::pin::Pin;

/// Why the inner shim did not do it.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct RuntimeError {
    /// What was being done, and how it failed.
    pub doing: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What the inner shim says of the container's init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not started yet.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Stopped,
}

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, RuntimeError>> + Send + 'a>>;

/// The container through its inner shim. The executor does without where the kernel itself
/// serves; a runtime that runs its processes elsewhere (a virtual machine) needs it.
pub trait Runtime: Send + Sync + 'static {
    /// Sends a signal to the init, or to all processes.
    fn kill(&self, signal: u32, all: bool) -> Later<'_, ()>;
    /// The processes, by their pids on the host.
    fn pids(&self) -> Later<'_, Vec<u32>>;
    /// What the init does.
    fn state(&self) -> Later<'_, State>;
    /// Thaws what a client had it pause: it then calls the container running, too.
    fn resume(&self) -> Later<'_, ()>;
    /// Returns once the init has ended.
    fn wait_exit(&self) -> Later<'_, ()>;
}
