//! Making a connection to the policy server, and knowing who answers.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use ttrpc::r#async::Client;
use ttrpc::r#async::transport::Socket;

use crate::{Address, TlsError, TlsFiles};

/// The way to a policy server. It holds no connection: each [`connect`](Self::connect)
/// makes one, reading the certificates anew, so that renewed ones are used.
#[derive(Debug, Clone)]
pub struct Connector {
    address: Address,
    tls: Option<TlsFiles>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `tls://` was asked for, and there are no certificates.
    #[error(
        "{0} needs a certificate on this side too: configure the node's certificate, its key, \
         and the server's CA"
    )]
    NoCertificates(Address),
    /// The name cannot be in a certificate.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// The certificates cannot be used.
    #[error("setting up TLS")]
    Tls(#[source] TlsError),
    /// The kernel, or the other side, refused.
    #[error("connecting to {to}")]
    Io {
        /// Where to.
        to: Address,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The other side did not answer in time.
    #[error("connecting to {to}: no answer within {limit:?}")]
    Timeout {
        /// Where to.
        to: Address,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Who serves on the unix socket is neither root nor we.
    #[error("{} is served by uid {uid}, which is neither root nor this process's user", .path.display())]
    Untrusted {
        /// The socket.
        path: PathBuf,
        /// Who serves there.
        uid: u32,
    },
}

impl Connector {
    /// The way to this address.
    ///
    /// # Errors
    /// When a TLS address comes without certificates, or its host cannot be verified.
    pub fn new(address: Address, tls: Option<TlsFiles>) -> Result<Self, ConnectError> {
        if let Address::Tls { host, .. } = &address {
            if tls.is_none() {
                return Err(ConnectError::NoCertificates(address));
            }
            ServerName::try_from(host.as_str()).map_err(|_| ConnectError::Name(host.clone()))?;
        }
        Ok(Self { address, tls })
    }

    /// Where it leads.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Makes a connection. TCP, TLS and the check of who is there are all within `limit`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(&self, limit: Duration) -> Result<Client, ConnectError> {
        match timeout(limit, self.socket()).await {
            Ok(socket) => Ok(Client::new(socket?)),
            Err(_) => Err(ConnectError::Timeout { to: self.address.clone(), limit }),
        }
    }

    async fn socket(&self) -> Result<Socket, ConnectError> {
        let io = |source| ConnectError::Io { to: self.address.clone(), source };
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(io)?;
                let uid = stream.peer_cred().map_err(io)?.uid();
                if uid != 0 && uid != rustix::process::geteuid().as_raw() {
                    return Err(ConnectError::Untrusted { path: path.clone(), uid });
                }
                Ok(Socket::new(stream))
            }
            Address::Tls { host, port } => {
                let Some(files) = &self.tls else {
                    return Err(ConnectError::NoCertificates(self.address.clone()));
                };
                let config = files.client().map_err(ConnectError::Tls)?;
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| ConnectError::Name(host.clone()))?;
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(io)?;
                stream.set_nodelay(true).map_err(io)?;
                let connector = tokio_rustls::TlsConnector::from(config);
                Ok(Socket::new(connector.connect(name, stream).await.map_err(io)?))
            }
        }
    }
}
