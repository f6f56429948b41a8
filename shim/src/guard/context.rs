//! What a guard has at hand from the start, and why there may be none.

use std::path::PathBuf;
use std::sync::Arc;

use lacre_report::{Address, Connector, StartError, TlsFiles};
use slog::Logger;

use crate::config::{Config, Server};
use crate::container::charters::Charters;
use crate::inner::client::Inner;
use crate::node::events::Events;
use crate::node::process::Process;
use crate::watchdog::Watchdog;

/// What a guard has to work with.
#[derive(Debug, Clone)]
pub struct Context {
    /// How this node guards.
    pub config: Arc<Config>,
    /// The containerd namespace.
    pub namespace: String,
    /// The container that the inner shim was started for: of a pod, the sandbox.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// containerd's gRPC socket.
    pub containerd: PathBuf,
    /// Calls to the inner shim.
    pub inner: Inner,
    /// Its process, if it said which.
    pub shim: Option<Process>,
    /// What ends its containers if it dies or hangs.
    pub(crate) watchdog: Arc<Watchdog>,
    /// The charters of the containers.
    pub charters: Charters,
    /// Events into containerd's stream.
    pub events: Events,
    /// Into containerd's log.
    pub log: Logger,
}

/// Why there is no guard: then nothing starts.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The policy server can't be reached as the configuration says, now or ever.
    #[error("the policy server of the configuration")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Records can't be kept.
    #[error("keeping records")]
    Records(#[from] StartError),
}

/// The node's name.
pub(crate) fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(crate) fn reports(config: &Config, node: &str) -> Result<lacre_report::Config, GuardError> {
    let mut reports = lacre_report::Config::new(node, &config.state);
    reports.records = Some(config.records.clone());
    reports.server = config.server.as_ref().map(|server| connector(server, config)).transpose()?;
    Ok(reports)
}

fn connector(server: &Server, config: &Config) -> Result<Connector, GuardError> {
    let address = match server {
        Server::Unix(path) => format!("unix://{}", path.display()),
        Server::Tls(host) => format!("tls://{host}"),
    };
    let address: Address = address.parse().map_err(|error| GuardError::Server(Box::new(error)))?;
    let tls = config.tls.as_ref().map(|tls| TlsFiles {
        cert: tls.cert.clone(),
        key: tls.key.clone(),
        ca: tls.ca.clone(),
    });
    Connector::new(address, tls).map_err(|error| GuardError::Server(Box::new(error)))
}
