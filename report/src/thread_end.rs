//! Threads that are waited for with a limit.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Instant;

/// A thread, and a way to wait for its end with a limit.
#[derive(Debug)]
pub(crate) struct Ending(Receiver<()>);

impl Ending {
    /// Starts it.
    pub(crate) fn spawn(
        name: &str,
        stack: usize,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (over, ending) = sync_channel(0);
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(stack);
        thread.spawn(move || {
            work();
            drop(over);
        })?;
        Ok(Self(ending))
    }

    /// Whether it has ended by then. One that has not is left to itself.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        self.0.recv_timeout(left) == Err(RecvTimeoutError::Disconnected)
    }
}
