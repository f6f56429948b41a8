//! The server's side: sockets, handshakes, and the bounds on both.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use ttrpc::r#async::transport::Listener;
use ttrpc::r#async::{Server, Service};

use crate::gate::Gate;
use crate::stream::Watched;
use crate::{Address, Peer, PeerError, ServerTls};

/// What bounds the connections of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may say nothing. A node has a `Watch` open, which it renews
    /// every [`WATCH`](crate::WATCH).
    pub idle: Duration,
    /// The most connections.
    pub connections: usize,
    /// The most connections of one principal. Every shim of a node has one.
    pub of_one: usize,
    /// The most handshakes under way, over all addresses.
    pub handshakes: usize,
    /// The most handshakes under way from one address. More are closed at once, so that one
    /// stalling address cannot keep the others out.
    pub handshakes_of_one: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            connections: 16_384,
            of_one: 2_048,
            handshakes: 512,
            handshakes_of_one: 64,
        }
    }
}

/// What happened to a connection.
#[derive(Debug)]
pub enum Notice {
    /// It stands, and this is who is at its other end.
    Opened(Peer),
    /// It ended.
    Closed(Peer),
    /// Too many connections, of this kind.
    Full(String),
    /// The handshake failed: a wrong or expired certificate, none, or no TLS at all.
    Handshake(String, std::io::Error),
    /// The handshake was not done in time.
    Stalled(String),
    /// The certificate names nobody.
    Nameless(String, PeerError),
    /// The user on the other end of a unix socket is not one of those who may connect.
    User(Peer),
    /// Accepting failed; it is tried again.
    Accept(std::io::Error),
}

/// Who answers. One value of its services is made for each connection, and dropped with it.
pub trait Host: Send + Sync + 'static {
    /// What is served to this peer.
    fn services(&self, peer: &Peer) -> HashMap<String, Service>;

    /// Something happened to a connection.
    fn notice(&self, notice: Notice);
}

/// A bound address that nothing was accepted on so far.
#[derive(Debug)]
pub struct Bound(Kind);

#[derive(Debug)]
enum Kind {
    Unix { listener: UnixListener, path: PathBuf, users: Vec<u32> },
    Tls { listener: TcpListener, tls: Arc<ServerTls> },
}

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another server is there.
    #[error("{} is served by another process: end it, or listen elsewhere", .0.display())]
    Taken(PathBuf),
    /// The kernel refused.
    #[error("listening on {at}")]
    Io {
        /// Where.
        at: String,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl Bound {
    /// Binds a unix socket, in place of one that nobody serves any more, and makes its folder
    /// if there is none. Root and this process's own user may connect, and `users`.
    ///
    /// # Errors
    /// When somebody serves there, or the kernel refuses.
    pub fn unix(path: &Path, users: &[u32]) -> Result<Self, BindError> {
        let io = |source| BindError::Io { at: format!("unix://{}", path.display()), source };
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            use std::os::unix::fs::FileTypeExt as _;
            if !metadata.file_type().is_socket() {
                return Err(io(std::io::ErrorKind::AlreadyExists.into()));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(io)?;
                }
                _ => return Err(BindError::Taken(path.to_owned())),
            }
        }
        // /run is empty after a boot. The mode is the shim's, for its own there.
        let mut folder = std::fs::DirBuilder::new();
        folder.recursive(true).mode(0o711);
        path.parent().map_or(Ok(()), |parent| folder.create(parent)).map_err(io)?;
        let listener = UnixListener::bind(path).map_err(io)?;
        // With other users named, SO_PEERCRED alone keeps the rest out.
        let mode = if users.is_empty() { 0o600 } else { 0o666 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(io)?;
        let mut users = users.to_vec();
        users.extend([0, rustix::process::geteuid().as_raw()]);
        Ok(Self(Kind::Unix { listener, path: path.to_owned(), users }))
    }

    /// Binds TCP, for TLS. The host of the address may be `0.0.0.0` or `::`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn tls(host: &str, port: u16, tls: Arc<ServerTls>) -> Result<Self, BindError> {
        let listener = TcpListener::bind((host, port)).await.map_err(|source| {
            let at = Address::Tls { host: host.to_owned(), port }.to_string();
            BindError::Io { at, source }
        })?;
        Ok(Self(Kind::Tls { listener, tls }))
    }

    /// The port that was bound, of TCP.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.0 {
            Kind::Unix { .. } => None,
            Kind::Tls { listener, .. } => listener.local_addr().ok().map(|addr| addr.port()),
        }
    }
}

struct Shared {
    host: Arc<dyn Host>,
    limits: Limits,
    handshakes: Arc<Gate<Option<IpAddr>>>,
    connections: Arc<Gate<String>>,
    stop: watch::Receiver<bool>,
}

/// Serves all of these addresses until `stop` turns true and every connection has ended.
/// Each connection is a task of its own from the first byte on: what one peer does or
/// leaves undone holds up nobody else.
pub async fn serve(
    bound: Vec<Bound>,
    host: Arc<dyn Host>,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    let shared = Arc::new(Shared {
        handshakes: Gate::new(limits.handshakes, limits.handshakes_of_one),
        connections: Gate::new(limits.connections, limits.of_one),
        host,
        limits,
        stop,
    });
    let mut loops = tokio::task::JoinSet::new();
    for Bound(kind) in bound {
        loops.spawn(accept(kind, Arc::clone(&shared)));
    }
    while loops.join_next().await.is_some() {}
}

async fn accept(kind: Kind, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    let mut stop = shared.stop.clone();
    loop {
        let next = async {
            match &kind {
                Kind::Unix { listener, .. } => {
                    listener.accept().await.map(|(stream, _)| Arrived::Unix(stream))
                }
                Kind::Tls { listener, .. } => {
                    listener.accept().await.map(|(stream, from)| Arrived::Tcp(stream, from))
                }
            }
        };
        let arrived = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            arrived = next => arrived,
        };
        match (arrived, &kind) {
            (Ok(Arrived::Unix(stream)), Kind::Unix { users, .. }) => {
                if let Some(task) = unix(stream, users, &shared) {
                    connections.spawn(task);
                }
            }
            (Ok(Arrived::Tcp(stream, from)), Kind::Tls { tls, .. }) => {
                let Some(pass) = shared.handshakes.enter(Some(from.ip())) else {
                    shared.host.notice(Notice::Full(format!("handshakes, {from}")));
                    continue;
                };
                let (shared, tls) = (Arc::clone(&shared), Arc::clone(tls));
                connections.spawn(async move {
                    let shaken = handshake(stream, from.to_string(), &tls, &shared).await;
                    drop(pass);
                    if let Some((stream, peer)) = shaken {
                        connection(stream, peer, shared).await;
                    }
                });
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                shared.host.notice(Notice::Accept(error));
                // Out of descriptors, most likely: they come back when connections end.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if let Kind::Unix { path, .. } = &kind {
        let _ = std::fs::remove_file(path);
    }
    drop(kind);
    while connections.join_next().await.is_some() {}
}

/// Returns when `stop` is true, or nobody can set it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

enum Arrived {
    Unix(UnixStream),
    Tcp(TcpStream, std::net::SocketAddr),
}

fn unix(
    stream: UnixStream,
    users: &[u32],
    shared: &Arc<Shared>,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    let peer = match stream.peer_cred() {
        Ok(cred) => Peer::Unix { uid: cred.uid(), pid: cred.pid() },
        Err(error) => {
            shared.host.notice(Notice::Accept(error));
            return None;
        }
    };
    match &peer {
        Peer::Unix { uid, .. } if users.contains(uid) => {
            Some(connection(stream, peer, Arc::clone(shared)))
        }
        _ => {
            shared.host.notice(Notice::User(peer));
            None
        }
    }
}

async fn handshake(
    stream: TcpStream,
    from: String,
    tls: &ServerTls,
    shared: &Shared,
) -> Option<(tokio_rustls::server::TlsStream<TcpStream>, Peer)> {
    let mut stop = shared.stop.clone();
    let shaken = tokio::select! {
        () = stopped(&mut stop) => return None,
        shaken = timeout(shared.limits.handshake, tls.acceptor().accept(stream)) => shaken,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.host.notice(Notice::Handshake(from, error));
            return None;
        }
        Err(_) => {
            shared.host.notice(Notice::Stalled(from));
            return None;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = match certificate {
        Some(der) => Peer::from_certificate(der, from.clone()),
        None => Err(PeerError::Nameless),
    };
    match peer {
        Ok(peer) => {
            let _ = stream.get_ref().0.set_nodelay(true);
            Some((stream, peer))
        }
        Err(error) => {
            shared.host.notice(Notice::Nameless(from, error));
            None
        }
    }
}

async fn connection<S>(stream: S, peer: Peer, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
{
    let Some(_pass) = shared.connections.enter(peer.principal()) else {
        shared.host.notice(Notice::Full(format!("connections, {peer}")));
        return;
    };
    let (stream, ended) = Watched::new(stream, shared.limits.idle);
    let incoming = futures_util::stream::once(async move { Ok(stream) });
    let mut server = Server::new()
        .add_listener(Listener::new(incoming))
        .register_service(shared.host.services(&peer));
    if let Err(error) = server.start().await {
        shared.host.notice(Notice::Accept(std::io::Error::other(error)));
        return;
    }
    shared.host.notice(Notice::Opened(peer.clone()));
    let mut stop = shared.stop.clone();
    tokio::select! {
        _ = ended => {}
        () = stopped(&mut stop) => server.disconnect().await,
    }
    drop(server);
    shared.host.notice(Notice::Closed(peer));
}
