use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinSet;

use super::Proxy;
use super::calls::{self, Method};
use crate::ttrpc::{Code, FLAG_NONE, FRAME_MAX, FrameError, FrameReader, Header, Kind, Status};
use crate::ttrpc::{response, write_frame};

/// Calls of one connection that the guard may be busy with at once. Beyond them a call is
/// refused rather than queued, so that a Kill never stands behind them.
const CALLS_MAX: usize = 64;

/// A client's connection, and its own one to the inner shim.
pub(super) struct Connection {
    pub(super) proxy: Arc<Proxy>,
    to_client: AsyncMutex<OwnedWriteHalf>,
    to_inner: AsyncMutex<OwnedWriteHalf>,
    /// Answers of the inner shim that are looked at before they are handed on, by stream.
    waiting: Mutex<HashMap<u32, oneshot::Sender<Response>>>,
}

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
        waiting: Mutex::default(),
    });
    tokio::select! {
        ended = requests(&connection, from_client) => ended,
        ended = connection.responses(from_inner) => ended,
    }
}

async fn requests(connection: &Arc<Connection>, from: OwnedReadHalf) -> Result<(), FrameError> {
    let mut from = FrameReader::new(from);
    // Dropped, and with it what it runs, when the connection ends.
    let mut calls = JoinSet::new();
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
            Ok(Some(_)) if calls.len() >= CALLS_MAX => {
                let message = format!("{CALLS_MAX} calls are being looked at already; try again");
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

impl Connection {
    async fn responses(&self, from: OwnedReadHalf) -> Result<(), FrameError> {
        let mut from = FrameReader::new(from);
        while let Some(header) = from.header().await? {
            let waiter = match header.kind {
                Kind::Response => self.waiting().remove(&header.stream),
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

    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<Response>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the inner shim, and waits for its answer; `None` when the connection ends first.
    pub(super) async fn ask(&self, frame: &RequestFrame) -> Option<Response> {
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(frame.header.stream, sender);
        let mut to = self.to_inner.lock().await;
        let written = write_frame(&mut *to, frame.header, &frame.payload).await;
        drop(to);
        if written.is_err() {
            self.waiting().remove(&frame.header.stream);
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
