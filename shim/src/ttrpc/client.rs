//! Calls of the guard's own to the inner shim.

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

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    /// The frame's flags.
    pub flags: u8,
    /// The response.
    pub payload: Vec<u8>,
}

type Answers = HashMap<u32, oneshot::Sender<Raw>>;
/// Calls that wait for their answers, by stream; `None` once the connection is gone.
type Waiting = Mutex<Option<Answers>>;

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

fn lock(waiting: &Waiting) -> MutexGuard<'_, Option<Answers>> {
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
        let method = call.method;
        let raw = match limit {
            None => self.exchange(method, FLAG_NONE, &call.encode(0, &self.metadata)).await?,
            Some(after) => {
                let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
                let payload = call.encode(nanos, &self.metadata);
                match timeout(after, self.exchange(method, FLAG_NONE, &payload)).await {
                    Err(_) => {
                        return Err(CallError::TimedOut { method: method.to_owned(), after });
                    }
                    Ok(raw) => raw?,
                }
            }
        };
        let method = || method.to_owned();
        match response::decode(&raw.payload) {
            Ok(Ok(payload)) => Ok(payload.to_vec()),
            Ok(Err(status)) => Err(CallError::Refused { method: method(), status }),
            Err(source) => Err(CallError::Answer { method: method(), source }),
        }
    }

    /// Sends a request as it stands, with what it has of metadata and deadline, under the
    /// next number of a stream; and gives the answer as it came. `method` names it in
    /// errors.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn exchange(
        &self,
        method: &str,
        flags: u8,
        request: &[u8],
    ) -> Result<Raw, CallError> {
        let closed = || CallError::Closed { method: method.to_owned() };
        let (sender, answer) = oneshot::channel();
        let mut guard = self.to.lock().await;
        let (to, next) = &mut *guard;
        let stream = *next;
        // Odd numbers are the client's. Go's server takes only ever greater ones, so that
        // they are given out under the lock that they are sent under.
        *next = next.checked_add(2).ok_or_else(closed)?;
        lock(&self.waiting).as_mut().ok_or_else(closed)?.insert(stream, sender);
        let mut forget = Forget { waiting: &self.waiting, stream, sent: false };
        let header = Header { length: 0, stream, kind: Kind::Request, flags };
        write_frame(to, header, request)
            .await
            .map_err(|source| CallError::Send { method: method.to_owned(), source })?;
        forget.sent = true;
        drop(guard);
        answer.await.map_err(|_| closed())
    }
}

/// Forgets a call, also when whoever made it has given up; and the whole connection, when
/// half a frame has been sent.
struct Forget<'a> {
    waiting: &'a Waiting,
    stream: u32,
    sent: bool,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(self.waiting);
        if !self.sent {
            waiting.take();
        } else if let Some(waiting) = waiting.as_mut() {
            waiting.remove(&self.stream);
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
            let _ = waiter.send(Raw { flags: header.flags, payload });
        }
    }
    // Drops the senders, and so tells everyone who still waits.
    lock(&waiting).take();
}
