//! Frames that pass as they came, and the bound on those that wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::calls;
use super::connection::{Connection, RequestFrame};
use super::method::Method;
use super::proxy::Proxy;
use crate::ttrpc::{Code, FRAME_MAX, FrameError, FrameReader, Kind, write_frame};

/// Calls of one connection that may be under way at once: such as wait for the guard, and
/// all that are read. Beyond them a call is refused rather than queued, so that a Kill
/// never stands behind a Start.
const CALLS_MAX: (usize, usize) = (64, 128);

/// What the calls whose answers have come have left to do, when the inner shim is gone.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Hands frames on until either side closes, which closes the other.
pub(super) async fn relay(
    proxy: Arc<Proxy>,
    client: UnixStream,
    inner: UnixStream,
) -> Result<(), FrameError> {
    let (from_client, to_client) = client.into_split();
    let (from_inner, to_inner) = inner.into_split();
    let connection = Arc::new(Connection::new(proxy, to_client, to_inner));
    let mut calls = JoinSet::new();
    let ended = tokio::select! {
        ended = requests(&connection, from_client, &mut calls) => {
            // What the client has asked for is done, though it has gone: the inner shim would
            // kill a runc half-way, which leaves cgroups and state that nobody knows of.
            calls.detach_all();
            return ended;
        }
        ended = connection.responses(from_inner) => ended,
        () = connection.broken() => Ok(()),
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
