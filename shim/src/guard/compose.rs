use std::path::PathBuf;
use std::sync::Arc;

use slog::{Logger, info};

use super::{Exempt, Guard, NoGuard};
use crate::config::Config;
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
pub enum GuardError {}

/// The guard that the configuration asks for.
///
/// # Errors
/// When it can't be had.
pub async fn compose(context: Context) -> Result<Arc<dyn Guard>, GuardError> {
    let exempt = Exempt::by_config(&context.config, &context.namespace, &context.bundle)
        .unwrap_or_else(Exempt::nothing_guards_yet);
    info!(context.log, "forwarding without a guard"; "because" => exempt.because().to_owned());
    Ok(Arc::new(NoGuard::new(exempt)))
}
