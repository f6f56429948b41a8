//! Connections that end when the other side says nothing, or takes nothing.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// A connection that ends by itself when nothing comes for too long, that takes no more
/// requests while its peer does not take the answers, and that tells that it has ended,
/// however it did.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Whether the last write had to wait, and who would read when it no longer does.
    blocked: bool,
    reader: Option<Waker>,
    /// Dropped with the stream: that is the sign.
    _ended: oneshot::Sender<()>,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, idle: Duration) -> (Self, oneshot::Receiver<()>) {
        let (sender, ended) = oneshot::channel();
        (
            Self {
                inner,
                idle,
                deadline: Box::pin(sleep(idle)),
                blocked: false,
                reader: None,
                _ended: sender,
            },
            ended,
        )
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = if this.blocked {
            this.reader = Some(cx.waker().clone());
            Poll::Pending
        } else {
            Pin::new(&mut this.inner).poll_read(cx, buf)
        };
        match read {
            Poll::Ready(result) => {
                this.deadline.as_mut().reset(Instant::now() + this.idle);
                Poll::Ready(result)
            }
            Poll::Pending => match this.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.blocked = written.is_pending();
        if !this.blocked
            && let Some(reader) = this.reader.take()
        {
            reader.wake();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
