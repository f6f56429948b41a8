use std::path::PathBuf;
use std::sync::Arc;

use lacre_report::{Address, Connector, Origin, Reporter, StartError, TlsFiles};
use lacre_types::chain;
use slog::{Logger, info, warn};

use super::lacre::{Lacre, Shared};
use super::policies::Switchboard;
use super::respond;
use super::{Exempt, Guard, NoGuard};
use crate::config::{Config, Server};
use crate::events::Events;
use crate::task::Inner;

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

/// The guard that the configuration asks for.
///
/// # Errors
/// When it can't be had.
pub async fn compose(context: Context) -> Result<Arc<dyn Guard>, GuardError> {
    if let Some(exempt) = Exempt::by_config(&context.config, &context.namespace, &context.bundle) {
        info!(context.log, "forwarding without a guard"; "because" => exempt.because().to_owned());
        return Ok(Arc::new(NoGuard::new(exempt)));
    }
    let node = node();
    let switchboard = Arc::new(Switchboard::new(context.log.clone()));
    let reporter = Reporter::start(reports(&context.config, &node)?, switchboard.clone())?;
    let reporter = Arc::new(reporter);
    tell_of_helpers(&context, &node, &reporter);
    Ok(Arc::new(Lacre::new(Shared { context, node, reporter, switchboard })))
}

/// The outcomes of helpers (DELETE, RESTART) whose own shim has gone before they were done.
fn tell_of_helpers(context: &Context, node: &str, reporter: &Reporter) {
    let records = match lacre_executor::collect(&context.config.run) {
        Ok(records) => records,
        Err(error) => {
            warn!(context.log, "outcomes of earlier actions"; "error" => chain(&error));
            return;
        }
    };
    for record in records {
        let origin = Origin {
            container_id: record.container,
            namespace: record.namespace,
            node: node.to_owned(),
            ..Origin::default()
        };
        reporter.report(respond::outcome(&origin, record.outcome, None));
    }
}

/// The node's name.
pub(super) fn node() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(super) fn reports(config: &Config, node: &str) -> Result<lacre_report::Config, GuardError> {
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
