//! SIGHUP, SIGTERM, SIGINT.

use std::sync::Arc;

use lacre_proto::ServerTls;
use lacre_types::chain;
use slog::{Logger, info, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// SIGHUP reads policy, expectations and certificates again; SIGTERM and SIGINT end.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn signals(
    log: Logger,
    tls: Option<Arc<ServerTls>>,
    reload: mpsc::Sender<()>,
    stop: watch::Sender<bool>,
) -> std::io::Result<tokio::task::JoinHandle<()>> {
    let [mut hangup, mut terminate, mut interrupt]: [Signal; 3] = [
        signal(SignalKind::hangup())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ];
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    let _ = reload.try_send(());
                    if let Some(Err(error)) = tls.as_ref().map(|tls| tls.reload()) {
                        warn!(log, "the certificates cannot be read again; those from before stay";
                            "error" => chain(&error));
                    }
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        info!(log, "asked to end");
        stop.send_replace(true);
    }))
}
