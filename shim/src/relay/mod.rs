//! Between containerd and the inner shim: hands every frame on as it came, and reads only
//! the calls that the guard must know of.
//!
//! Each connection of a client has one of its own to the inner shim, so that streams,
//! their numbers and the end of either side need no translation; and, once it makes a call
//! that is read, a second one for those.

mod calls;
mod connection;
mod containers;
mod frames;
mod method;
mod program_check;
mod proxy;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lacre_types::chain;
use slog::{info, warn};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

pub use containers::{Common, Containers};
pub use program_check::Listed;
pub use proxy::Proxy;

/// containerd makes one connection a container, and a pod has a few. One more than these
/// is closed at once: memory stays bounded, whoever connects.
const CONNECTIONS_MAX: usize = 256;

/// How many connections are open.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<watch::Sender<usize>>);

/// One of them, while it is open.
#[derive(Debug)]
struct Open(Connections);

impl Connections {
    /// Whether there is one.
    #[must_use]
    pub fn any(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until there is none. Others may come meanwhile.
    pub async fn ended(&self) {
        // The sender is ours, so that this only ever ends with all of them.
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }

    /// One more, unless there are too many.
    fn open(&self) -> Option<Open> {
        let more = |open: &mut usize| {
            let room = *open < CONNECTIONS_MAX;
            *open += usize::from(room);
            room
        };
        self.0.send_if_modified(more).then(|| Open(self.clone()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
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
            let Some(one) = open.open() else {
                warn!(self.log, "closing a connection: there are {} already", CONNECTIONS_MAX);
                continue;
            };
            let proxy = Arc::clone(&self);
            tokio::spawn(async move {
                proxy.connection(client).await;
                drop(one);
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
        if let Err(error) = frames::relay(Arc::clone(&self), client, inner).await {
            info!(self.log, "a connection ended"; "error" => chain(&error));
        }
    }
}

#[cfg(test)]
mod connections {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_last_to_end_keeps_nobody_out() {
        let connections = Connections::default();
        let first = connections.open();
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.ended().await }
        });
        tokio::task::yield_now().await;
        let second = connections.open();
        assert!(second.is_some(), "there is room");
        drop((first, second));
        waiting.await.unwrap();
        assert!(!connections.any());
    }

    #[test]
    fn there_are_not_more_than_the_bound() {
        let connections = Connections::default();
        let all: Vec<_> = std::iter::from_fn(|| connections.open()).collect();
        assert_eq!(all.len(), CONNECTIONS_MAX);
    }
}
