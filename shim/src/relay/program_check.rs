//! The programs that are about to run a container, compared with the node's list.

use std::sync::Arc;

use lacre_types::{Mode, chain};
use slog::{Logger, info};
use tokio::task::spawn_blocking;

use crate::bootstrap::options;
use crate::config::Config;
use crate::guard::{Refusal, record_refusal};
use crate::inner::program::RUNC;
use crate::messages::Any;
use crate::node::program_list::Checked;
use crate::node::runtime::Runtime;
use crate::ttrpc::Code;

/// Whether the inner shim and the runtime that it runs are those that the node lists.
#[derive(Debug)]
pub struct Listed {
    config: Arc<Config>,
    namespace: String,
    /// Why the inner shim is not, in audit mode.
    doubt: Option<String>,
    /// Which runtime another shim runs nobody can tell.
    runs_runc: bool,
}

impl Listed {
    /// By the node's list; `doubt` is what was found of the inner shim.
    #[must_use]
    pub fn new(config: &Arc<Config>, namespace: &str, doubt: Option<String>, log: &Logger) -> Self {
        let shim = &config.inner.shim;
        let runs_runc = shim == RUNC || shim.ends_with("/containerd-shim-runc-v2");
        if !runs_runc {
            info!(log, "which runtime the inner shim runs is not known, nor checked");
        }
        Self { config: Arc::clone(config), namespace: namespace.to_owned(), doubt, runs_runc }
    }

    /// The runtime that the inner shim runs for a container, by the options that it gets; none
    /// where nobody can tell.
    ///
    /// # Errors
    /// When the options make no sense.
    pub(super) fn runtime(&self, options: Option<&Any>) -> Result<Option<Runtime>, Refusal> {
        if !self.runs_runc {
            return Ok(None);
        }
        let named = options.map(options::binary_name).transpose().map_err(|error| {
            let message = format!("the runtime options are not what the protocol says: {error}");
            Refusal::new(Code::InvalidArgument, &message)
        })?;
        let name = named.flatten().unwrap_or_else(|| "runc".to_owned());
        Ok(Some(Runtime { programs: self.config.programs(), name }))
    }

    /// Why what is about to be run for a container is not what the node lists, in audit mode.
    ///
    /// # Errors
    /// The same, in enforce mode; then it is on record.
    pub(super) async fn doubts(
        &self,
        id: &str,
        runtime: Option<Runtime>,
        log: &Logger,
    ) -> Result<Vec<String>, Refusal> {
        let mut doubts: Vec<_> = self.doubt.iter().cloned().collect();
        if let Some(runtime) = runtime {
            match spawn_blocking(move || runtime.check()).await {
                Ok(Ok(Checked::Listed)) => {}
                Ok(Ok(Checked::NotChecked)) => {
                    info!(
                        log,
                        "neither the inner shim nor its runtime is checked: there is no \
                                list of programs"
                    );
                }
                Ok(Err(error)) => doubts.push(chain(&error)),
                Err(error) => doubts.push(format!("comparing the runtime: {error}")),
            }
        }
        let Some(doubt) = doubts.first().filter(|_| self.config.mode == Mode::Enforce) else {
            return Ok(doubts);
        };
        let (config, namespace, id) =
            (Arc::clone(&self.config), self.namespace.clone(), id.to_owned());
        let (why, log) = (doubt.clone(), log.clone());
        let record = move || record_refusal(&config, &namespace, &id, &why, &log);
        // A fault in it is on the log, and the refusal stands.
        let _ = spawn_blocking(record).await;
        Err(Refusal::denied(doubt))
    }
}
