use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify, OnceCell};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Proxy;
use super::calls::{self, Method};
use crate::ttrpc::{Client, Code, FLAG_NONE, FRAME_MAX, FrameError, FrameReader, Header, Kind};
use crate::ttrpc::{Raw, Status, response, write_frame};

/// Calls of one connection that may be under way at once: such as wait for the guard, and
/// all that are read. Beyond them a call is refused rather than queued, so that a Kill
/// never stands behind a Start.
const CALLS_MAX: (usize, usize) = (64, 128);

/// What the calls whose answers have come have left to do, when the inner shim is gone.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A client's connection, and its own ones to the inner shim.
pub(super) struct Connection {
    pub(super) proxy: Arc<Proxy>,
    to_client: AsyncMutex<OwnedWriteHalf>,
    to_inner: AsyncMutex<OwnedWriteHalf>,
    /// For the calls that are read, which the guard may hold back: Go's server refuses a
    /// stream whose number is less than one that it has seen, so that a held call could not
    /// follow later ones over the connection that frames pass as they came.
    held_back: OnceCell<Client>,
    /// Tells that this connection can't go on.
    broken: Notify,
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
        held_back: OnceCell::new(),
        broken: Notify::new(),
    });
    let mut calls = JoinSet::new();
    let ended = tokio::select! {
        ended = requests(&connection, from_client, &mut calls) => {
            // What the client has asked for is done, though it has gone: the inner shim would
            // kill a runc half-way, which leaves cgroups and state that nobody knows of.
            calls.detach_all();
            return ended;
        }
        ended = connection.responses(from_inner) => ended,
        () = connection.broken.notified() => Ok(()),
    };
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
            from.pass(header, &mut *self.to_client.lock().await).await?;
        }
        Ok(())
    }

    /// Asks the inner shim, and waits for its answer; `None` when it has gone, and with it
    /// this connection.
    pub(super) async fn ask(&self, method: Method, frame: &RequestFrame) -> Option<Raw> {
        let connect = || Client::connect(&self.proxy.inner_socket, Vec::new());
        let answer = match self.held_back.get_or_try_init(connect).await {
            Ok(inner) => {
                let name = method.name();
                inner.exchange(name, frame.header.flags, &frame.payload).await.ok()
            }
            Err(_) => None,
        };
        if answer.is_none() {
            self.broken.notify_one();
        }
        answer
    }

    /// Hands an answer of the inner shim on.
    pub(super) async fn answer(&self, request: Header, answer: &Raw) -> Result<(), FrameError> {
        let (kind, flags) = (Kind::Response, answer.flags);
        let header = Header { length: 0, stream: request.stream, kind, flags };
        write_frame(&mut *self.to_client.lock().await, header, &answer.payload).await
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
        self.answer(request, &Raw { flags: FLAG_NONE, payload }).await
    }

    async fn refuse(&self, request: Header, code: Code, why: String) -> Result<(), FrameError> {
        let status = Status::new(code, format!("lacre: {why}"));
        self.reply(request, Err(&status)).await
    }
}
