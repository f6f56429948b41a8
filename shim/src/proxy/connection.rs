use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Proxy;
use super::calls::{self, Method};
use crate::ttrpc::{Code, FLAG_NONE, FRAME_MAX, FrameError, FrameReader, Header, Kind, Status};
use crate::ttrpc::{response, write_frame};

/// Calls of one connection that may be under way at once: such as wait for the guard, and
/// all that are read. Beyond them a call is refused rather than queued, so that a Kill
/// never stands behind a Start.
const CALLS_MAX: (usize, usize) = (64, 128);

/// What the calls whose answers have come have left to do, when the inner shim is gone.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A client's connection, and its own one to the inner shim.
pub(super) struct Connection {
    pub(super) proxy: Arc<Proxy>,
    to_client: AsyncMutex<OwnedWriteHalf>,
    to_inner: AsyncMutex<OwnedWriteHalf>,
    waiting: Mutex<Option<Waiting>>,
}

/// Who looks at an answer of the inner shim before it is handed on, by stream; none any more
/// once the inner shim has gone.
type Waiting = HashMap<u32, oneshot::Sender<Response>>;

/// A response frame.
#[derive(Debug)]
pub(super) struct Response {
    header: Header,
    pub(super) payload: Vec<u8>,
}

/// A request frame.
#[derive(Debug)]
pub(super) struct RequestFrame {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

/// Hands frames on until either side closes, which closes the other.
pub(super) async fn relay(
    proxy: Arc<Proxy>,
    client: UnixStream,
    inner: UnixStream,
) -> Result<(), FrameError> {
    let (from_client, to_client) = client.into_split();
    let (from_inner, to_inner) = inner.into_split();
    let connection = Arc::new(Connection {
        proxy,
        to_client: AsyncMutex::new(to_client),
        to_inner: AsyncMutex::new(to_inner),
        waiting: Mutex::new(Some(HashMap::new())),
    });
    // Dropped, and with it what it runs, when the connection ends.
    let mut calls = JoinSet::new();
    let ended = tokio::select! {
        ended = requests(&connection, from_client, &mut calls) => return ended,
        ended = connection.responses(from_inner) => ended,
    };
    connection.waiting().take();
    let rest = async { while calls.join_next().await.is_some() {} };
    // Who has not finished by then waits for something else than an answer.
    let _ = timeout(LAST_ANSWERS, rest).await;
    ended
}

async fn requests(
    connection: &Arc<Connection>,
    from: OwnedReadHalf,
    calls: &mut JoinSet<()>,
) -> Result<(), FrameError> {
    let mut from = FrameReader::new(from);
    while let Some(header) = from.header().await? {
        while calls.try_join_next().is_some() {}
        if header.kind != Kind::Request {
            from.pass(header, &mut *connection.to_inner.lock().await).await?;
            continue;
        }
        if header.length > FRAME_MAX {
            from.skip(header).await?;
            let message = FrameError::TooLong(header.length).to_string();
            connection.refuse(header, Code::ResourceExhausted, message).await?;
            continue;
        }
        let mut payload = Vec::new();
        from.payload(header, &mut payload).await?;
        match Method::of(&payload) {
            Ok(None) => {
                write_frame(&mut *connection.to_inner.lock().await, header, &payload).await?;
            }
            Ok(Some(method)) if calls.len() >= limit(method) => {
                let message = format!("{} calls are under way already; try again", calls.len());
                connection.refuse(header, Code::ResourceExhausted, message).await?;
            }
            Ok(Some(method)) => {
                let frame = RequestFrame { header, payload };
                calls.spawn(calls::handle(Arc::clone(connection), method, frame));
            }
            // What can't be read can't be told from a Start.
            Err(error) => {
                let message = format!("the request is not a call: {error}");
                connection.refuse(header, Code::InvalidArgument, message).await?;
            }
        }
    }
    Ok(())
}

const fn limit(method: Method) -> usize {
    if method.waits_for_guard() { CALLS_MAX.0 } else { CALLS_MAX.1 }
}

impl Connection {
    async fn responses(&self, from: OwnedReadHalf) -> Result<(), FrameError> {
        let mut from = FrameReader::new(from);
        while let Some(header) = from.header().await? {
            let waiter = match header.kind {
                Kind::Response => self.waiting().as_mut().and_then(|w| w.remove(&header.stream)),
                _ => None,
            };
            match waiter {
                None => from.pass(header, &mut *self.to_client.lock().await).await?,
                Some(waiter) => {
                    let mut payload = Vec::new();
                    from.payload(header, &mut payload).await?;
                    // Whoever waits lives as long as this connection.
                    let _ = waiter.send(Response { header, payload });
                }
            }
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the inner shim, and waits for its answer; `None` when the connection ends first.
    pub(super) async fn ask(&self, frame: &RequestFrame) -> Option<Response> {
        let (sender, answer) = oneshot::channel();
        self.waiting().as_mut()?.insert(frame.header.stream, sender);
        let mut to = self.to_inner.lock().await;
        let written = write_frame(&mut *to, frame.header, &frame.payload).await;
        drop(to);
        if written.is_err() {
            self.waiting().as_mut()?.remove(&frame.header.stream);
            return None;
        }
        answer.await.ok()
    }

    /// Hands an answer of the inner shim on.
    pub(super) async fn answer(&self, response: &Response) {
        let mut to = self.to_client.lock().await;
        // A client that has gone is seen by whoever reads from it.
        let _ = write_frame(&mut *to, response.header, &response.payload).await;
    }

    /// Answers in the inner shim's stead.
    pub(super) async fn reply(
        &self,
        request: Header,
        outcome: Result<&[u8], &Status>,
    ) -> Result<(), FrameError> {
        let payload = match outcome {
            Ok(payload) => response::success(payload),
            Err(status) => response::failure(status),
        };
        let header =
            Header { length: 0, stream: request.stream, kind: Kind::Response, flags: FLAG_NONE };
        write_frame(&mut *self.to_client.lock().await, header, &payload).await
    }

    async fn refuse(&self, request: Header, code: Code, why: String) -> Result<(), FrameError> {
        let status = Status::new(code, format!("lacre: {why}"));
        self.reply(request, Err(&status)).await
    }
}
