//! Delivering what dead shims left, without a reporter of one's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::events::Events;
use crate::reporter_state::{Shared, StartError};
use crate::session::Delivered;
use crate::spool::orphans;
use crate::{disk, session};

/// Delivers what dead shims of this node left, for at most `limit`; for a `delete` that
/// cleans up after one, which has no reporter of its own.
///
/// # Errors
/// When the thread cannot be started. That the server is away is none: then all is left.
pub fn deliver_orphans(
    config: Config,
    events: Arc<dyn Events>,
    limit: Duration,
) -> Result<Delivered, StartError> {
    if config.server.is_none() {
        return Ok(Delivered::default());
    }
    let until = Instant::now() + limit;
    let shared = Shared::new(config, events)?;
    shared.stop.send_replace(Some(until));
    let disk = disk::start(Arc::clone(&shared), false).map_err(StartError::Thread)?;
    let delivered = session::orphans(&shared).map_err(StartError::Thread);
    shared.intake.close();
    // One that hangs keeps the locks of what it has taken on.
    disk.wait(until.max(Instant::now() + Duration::from_millis(100)));
    let mut delivered = delivered?;
    delivered.left = orphans::left(&shared.config.spools());
    Ok(delivered)
}
