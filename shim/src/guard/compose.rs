//! Which guard a shim has, made from its configuration.

use std::sync::Arc;
use std::time::Duration;

use lacre_report::{Origin, Reporter};
use lacre_types::chain;
use slog::{Logger, info, warn};

use super::context::{Context, GuardError, node, reports};
use super::policy::Switchboard;
use super::responder;
use super::{Exempt, Guard, NoGuard, Shared};
use crate::config::Config;
use crate::container::shim_guard::ShimGuard;

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
    Ok(Arc::new(ShimGuard::new(Shared::new(context, node, reporter, switchboard))))
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
        reporter.answer(responder::outcome(&origin, record.outcome), None);
    }
}

/// Delivers what dead shims of this node left in their spools, for at most `limit`; what is
/// not, the next shim delivers.
pub(crate) fn deliver_left(config: &Config, limit: Duration) -> Result<(), GuardError> {
    let reports = reports(config, &node())?;
    let silent = Arc::new(Switchboard::new(Logger::root(slog::Discard, slog::o!())));
    lacre_report::deliver_orphans(reports, silent, limit)?;
    Ok(())
}
