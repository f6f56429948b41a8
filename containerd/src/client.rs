//! The connection to containerd: deadlines, namespaces, leases, and what failed.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::Error;

/// The deadline of a call that does not say otherwise. containerd answers these in
/// milliseconds; a node under heavy disk load has been seen to take seconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// The greatest answer that is read. A container's spec is tens of KiB.
const ANSWER_MAX: usize = 16 << 20;

/// containerd, at one socket, in one namespace.
#[derive(Clone, Debug)]
pub struct Client {
    address: Arc<Path>,
    namespace: Arc<str>,
    lease: Option<Arc<str>>,
    deadline: Duration,
    channel: Arc<OnceCell<Channel>>,
}

impl Client {
    /// A client of containerd at this socket: a path, or `unix://` and a path. Nothing is
    /// connected yet.
    #[must_use]
    pub fn new(address: &str, namespace: &str) -> Self {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        Self {
            address: Path::new(path).into(),
            namespace: namespace.into(),
            lease: None,
            deadline: DEADLINE,
            channel: Arc::default(),
        }
    }

    /// The same with another deadline for each call.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same connection, in another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// The same connection; what is made by it belongs to this lease.
    #[must_use]
    pub fn under_lease(&self, lease: &str) -> Self {
        Self { lease: Some(lease.into()), ..self.clone() }
    }

    /// containerd's socket.
    #[must_use]
    pub fn address(&self) -> &Path {
        &self.address
    }

    /// The namespace it asks in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// One request, one answer, within the deadline: connecting included.
    pub(crate) async fn unary<Q, A>(
        &self,
        call: &'static str,
        on: &str,
        message: Q,
    ) -> Result<A, Error>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let answer = async {
            let mut grpc = self.ready(call, on).await?;
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            let mut request = self.request(message);
            request.set_timeout(self.deadline);
            grpc.unary(request, PathAndQuery::from_static(call), codec)
                .await
                .map(tonic::Response::into_inner)
                .map_err(|status| self.failed(call, on, &status))
        };
        self.in_time(call, on, answer).await
    }

    /// One request, a stream of answers. The deadline is that of each part, not of the whole.
    pub(crate) async fn stream<Q, A>(
        &self,
        call: &'static str,
        on: &str,
        message: Q,
    ) -> Result<tonic::Streaming<A>, Error>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.in_time(call, on, self.subscribe(call, on, message)).await
    }

    /// The same with no deadline: the answer to a subscription begins with the first of what was
    /// subscribed to.
    pub(crate) async fn subscribe<Q, A>(
        &self,
        call: &'static str,
        on: &str,
        message: Q,
    ) -> Result<tonic::Streaming<A>, Error>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = self.ready(call, on).await?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        grpc.server_streaming(self.request(message), PathAndQuery::from_static(call), codec)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| self.failed(call, on, &status))
    }

    /// Bounds any step of a call by the deadline.
    pub(crate) async fn in_time<T>(
        &self,
        call: &'static str,
        on: &str,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(self.deadline, step).await.unwrap_or_else(|_| {
            Err(Error::Deadline {
                call: short(call),
                on: on.into(),
                address: self.address.to_path_buf(),
                after: self.deadline,
            })
        })
    }

    pub(crate) fn failed(&self, call: &'static str, on: &str, status: &tonic::Status) -> Error {
        let (call, on, address) = (short(call), on.into(), self.address.to_path_buf());
        let message: String = status.message().into();
        match status.code() {
            tonic::Code::NotFound => Error::NotFound { call, on, address, message },
            tonic::Code::DeadlineExceeded => {
                Error::Deadline { call, on, address, after: self.deadline }
            }
            // tonic's own timer, when it fires before ours, in its words.
            tonic::Code::Cancelled if message == "Timeout expired" => {
                Error::Deadline { call, on, address, after: self.deadline }
            }
            code => Error::Refused { call, on, address, code, message },
        }
    }

    async fn ready(
        &self,
        call: &'static str,
        on: &str,
    ) -> Result<tonic::client::Grpc<Channel>, Error> {
        let channel = self.channel.get_or_try_init(|| self.connect(call, on)).await?;
        let mut grpc =
            tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(ANSWER_MAX);
        grpc.ready().await.map_err(|error| self.unreachable(call, on, &error))?;
        Ok(grpc)
    }

    async fn connect(&self, call: &'static str, on: &str) -> Result<Channel, Error> {
        Endpoint::from_static("http://containerd")
            .connect_with_connector(Socket(self.address.to_path_buf()))
            .await
            .map_err(|error| self.unreachable(call, on, &error))
    }

    fn unreachable(
        &self,
        call: &'static str,
        on: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> Error {
        Error::Unreachable {
            call: short(call),
            on: on.into(),
            address: self.address.to_path_buf(),
            source: io_of(error),
        }
    }

    fn request<Q>(&self, message: Q) -> tonic::Request<Q> {
        let mut request = tonic::Request::new(message);
        // A name that can't be a header is sent as none, which containerd refuses.
        if let Ok(namespace) = self.namespace.parse() {
            request.metadata_mut().insert("containerd-namespace", namespace);
        }
        if let Some(Ok(lease)) = self.lease.as_deref().map(str::parse) {
            request.metadata_mut().insert("containerd-lease", lease);
        }
        request
    }
}

/// `/containerd.services.containers.v1.Containers/Get` as `Containers/Get`.
pub(crate) fn short(call: &'static str) -> &'static str {
    let from = call.rfind('.').map_or(0, |dot| dot + 1);
    &call[from..]
}

/// The first I/O error in a chain.
fn io_of(error: &(dyn std::error::Error + 'static)) -> std::io::Error {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return match io.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::new(io.kind(), io.to_string()),
            };
        }
        next = error.source();
    }
    std::io::Error::other(error.to_string())
}

/// Connects to the socket, whatever the URI says.
struct Socket(PathBuf);

impl tower_service::Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { UnixStream::connect(path).await.map(TokioIo::new) })
    }
}
