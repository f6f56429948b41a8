//! One client's connection and those to the inner shim that stand behind it.

use std::sync::Arc;

use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify, OnceCell};

use super::method::Method;
use super::proxy::Proxy;
use crate::ttrpc::{Client, Code, FLAG_NONE, FrameError, FrameReader, Header, Kind};
use crate::ttrpc::{Raw, Status, response, write_frame};

/// A client's connection, and its own ones to the inner shim.
pub(super) struct Connection {
    pub(super) proxy: Arc<Proxy>,
    to_client: AsyncMutex<OwnedWriteHalf>,
    pub(super) to_inner: AsyncMutex<OwnedWriteHalf>,
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

impl Connection {
    pub(super) fn new(
        proxy: Arc<Proxy>,
        to_client: OwnedWriteHalf,
        to_inner: OwnedWriteHalf,
    ) -> Self {
        Self {
            proxy,
            to_client: AsyncMutex::new(to_client),
            to_inner: AsyncMutex::new(to_inner),
            held_back: OnceCell::new(),
            broken: Notify::new(),
        }
    }

    /// Returns when it can't go on.
    pub(super) async fn broken(&self) {
        self.broken.notified().await;
    }

    pub(super) async fn responses(&self, from: OwnedReadHalf) -> Result<(), FrameError> {
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

    pub(super) async fn refuse(
        &self,
        request: Header,
        code: Code,
        why: String,
    ) -> Result<(), FrameError> {
        let status = Status::new(code, format!("lacre: {why}"));
        self.reply(request, Err(&status)).await
    }
}
