use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::time::timeout;

use super::{Call, FLAG_NONE, FrameError, FrameReader, Header, Kind, Metadata, Status};
use super::{response, write_frame};
use crate::wire::WireError;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The other end refused.
    #[error("{method} was refused with code {}: {}", .status.code, .status.message)]
    Refused {
        /// What was called.
        method: String,
        /// What it said.
        status: Status,
    },
    /// No answer came in time.
    #[error("{method} was not answered within {} ms", .after.as_millis())]
    TimedOut {
        /// What was called.
        method: String,
        /// How long it had.
        after: Duration,
    },
    /// The connection is gone.
    #[error("the connection closed before {method} was answered")]
    Closed {
        /// What was called.
        method: String,
    },
    /// The call could not be sent.
    #[error("sending {method}")]
    Send {
        /// What was called.
        method: String,
        /// Why not.
        #[source]
        source: FrameError,
    },
    /// The answer makes no sense.
    #[error("the answer to {method} is not what the protocol says")]
    Answer {
        /// What was called.
        method: String,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
}

impl CallError {
    /// The status that the other end gave, if it gave one.
    #[must_use]
    pub const fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            _ => None,
        }
    }
}

/// Calls that wait for their answers, by stream; `None` once the connection is gone.
type Waiting = Mutex<Option<HashMap<u32, oneshot::Sender<Vec<u8>>>>>;

/// A connection to call over. Calls may be made at the same time. It does not reconnect.
#[derive(Debug)]
pub struct Client {
    to: AsyncMutex<(OwnedWriteHalf, u32)>,
    waiting: Arc<Waiting>,
    metadata: Vec<Metadata>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, Option<HashMap<u32, oneshot::Sender<Vec<u8>>>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Connects to a socket; `metadata` goes with every call.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(path: &Path, metadata: Vec<Metadata>) -> io::Result<Self> {
        let (from, to) = UnixStream::connect(path).await?.into_split();
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = tokio::spawn(read(from, Arc::clone(&waiting)));
        Ok(Self { to: AsyncMutex::new((to, 1)), waiting, metadata, reader })
    }

    /// Whether the other end has gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.waiting).is_none()
    }

    /// Makes a call; without a limit it waits as long as the connection lasts.
    ///
    /// # Errors
    /// When it is refused, or not answered.
    pub async fn call(
        &self,
        call: Call<'_>,
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, CallError> {
        let method = || call.method.to_owned();
        let (answer, stream) = match limit {
            None => self.send(call, 0).await?,
            Some(after) => {
                let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
                match timeout(after, self.send(call, nanos)).await {
                    Err(_) => return Err(CallError::TimedOut { method: method(), after }),
                    Ok(sent) => sent?,
                }
            }
        };
        let raw = match limit {
            None => answer.await,
            Some(after) => match timeout(after, answer).await {
                Err(_) => {
                    lock(&self.waiting).as_mut().map(|waiting| waiting.remove(&stream));
                    return Err(CallError::TimedOut { method: method(), after });
                }
                Ok(answer) => answer,
            },
        };
        let raw = raw.map_err(|_| CallError::Closed { method: method() })?;
        match response::decode(&raw) {
            Ok(Ok(payload)) => Ok(payload.to_vec()),
            Ok(Err(status)) => Err(CallError::Refused { method: method(), status }),
            Err(source) => Err(CallError::Answer { method: method(), source }),
        }
    }

    async fn send(
        &self,
        call: Call<'_>,
        nanos: u64,
    ) -> Result<(oneshot::Receiver<Vec<u8>>, u32), CallError> {
        let method = || call.method.to_owned();
        let payload = call.encode(nanos, &self.metadata);
        let (sender, answer) = oneshot::channel();
        let mut guard = self.to.lock().await;
        let (to, next) = &mut *guard;
        let stream = *next;
        // Odd numbers are the client's, and may not come twice on a connection.
        *next = next.checked_add(2).ok_or_else(|| CallError::Closed { method: method() })?;
        match lock(&self.waiting).as_mut() {
            None => return Err(CallError::Closed { method: method() }),
            Some(waiting) => waiting.insert(stream, sender),
        };
        let header = Header { length: 0, stream, kind: Kind::Request, flags: FLAG_NONE };
        match write_frame(to, header, &payload).await {
            Ok(()) => Ok((answer, stream)),
            Err(source) => {
                lock(&self.waiting).as_mut().map(|waiting| waiting.remove(&stream));
                Err(CallError::Send { method: method(), source })
            }
        }
    }
}

async fn read(from: OwnedReadHalf, waiting: Arc<Waiting>) {
    let mut from = FrameReader::new(from);
    while let Ok(Some(header)) = from.header().await {
        let mut payload = Vec::new();
        if from.payload(header, &mut payload).await.is_err() {
            break;
        }
        if header.kind != Kind::Response {
            continue;
        }
        let waiter = lock(&waiting).as_mut().and_then(|waiting| waiting.remove(&header.stream));
        if let Some(waiter) = waiter {
            // Whoever asked may have given up.
            let _ = waiter.send(payload);
        }
    }
    // Drops the senders, and so tells everyone who still waits.
    lock(&waiting).take();
}
