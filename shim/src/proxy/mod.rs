//! Between containerd and the inner shim: hands every frame on as it came, and reads only
//! the calls that the guard must know of.
//!
//! Each connection of a client has one of its own to the inner shim, so that streams,
//! their numbers and the end of either side need no translation; and, once it makes a call
//! that is read, a second one for those.

mod calls;
mod connection;
mod containers;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use slog::{Logger, info, warn};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::config;
use crate::guard::Guard;
use crate::log::chain;
use crate::task::Inner;

pub use containers::Containers;

/// containerd makes one connection a container, and a pod has a few. One more than these
/// is closed at once: memory stays bounded, whoever connects.
const CONNECTIONS_MAX: usize = 256;

/// What all connections share.
pub struct Proxy {
    /// Who is asked.
    pub guard: Arc<dyn Guard>,
    /// Where the inner shim listens.
    pub inner_socket: PathBuf,
    /// Our own calls to it.
    pub inner: Inner,
    /// Its section of the configuration.
    pub inner_config: config::Inner,
    /// The containers that there are.
    pub containers: Arc<Containers>,
    /// The log.
    pub log: Logger,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("inner", &self.inner_socket).finish_non_exhaustive()
    }
}

/// The connections that are open, for as long as they are.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Semaphore>);

impl Default for Connections {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS_MAX)))
    }
}

impl Connections {
    /// Whether there is one.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.available_permits() < CONNECTIONS_MAX
    }

    /// Waits until the last of them has ended.
    pub async fn ended(&self) {
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        // The semaphore is never closed, so that this only ever ends with all of them.
        let _ = self.0.acquire_many(all).await;
    }
}

impl Proxy {
    /// Takes connections until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: &UnixListener, open: &Connections) {
        loop {
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    // Out of descriptors or memory: give others time to free some.
                    warn!(self.log, "accepting a connection"; "error" => error.to_string());
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&open.0).try_acquire_owned() else {
                warn!(self.log, "closing a connection: there are {} already", CONNECTIONS_MAX);
                continue;
            };
            let proxy = Arc::clone(&self);
            tokio::spawn(async move {
                proxy.connection(client).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, client: UnixStream) {
        let inner = match UnixStream::connect(&self.inner_socket).await {
            Ok(inner) => inner,
            Err(error) => {
                warn!(self.log, "connecting to the inner shim"; "error" => error.to_string());
                return;
            }
        };
        if let Err(error) = connection::relay(Arc::clone(&self), client, inner).await {
            info!(self.log, "a connection ended"; "error" => chain(&error));
        }
    }
}
