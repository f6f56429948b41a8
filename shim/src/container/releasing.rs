//! A release on record, and as it is told to who asked for it.

use std::sync::Arc;
use std::time::Duration;

use lacre_executor::Release;
use lacre_report::{Origin, OutcomeResult, Reporter};
use slog::Logger;

use super::telling::Released;
use crate::config::Config;
use crate::guard::{Operator, context, policy};

/// For the disk, and for the policy server; what the server does not take is in the spool, for the
/// node's next shim to deliver.
const TELL: Duration = Duration::from_secs(2);

/// Its record.
pub(super) fn record(origin: &Origin, by: &Operator, done: &Release) -> lacre_report::Release {
    let result = if done.failed.is_empty() { OutcomeResult::Done } else { OutcomeResult::Failed };
    let mut record = lacre_report::Release::new(origin, result, by.uid, &by.reason);
    record.undone.clone_from(&done.undone);
    record.again.clone_from(&done.again);
    record.login = by.login;
    let detail: Vec<&str> = done.failed.iter().chain(&done.notes).map(String::as_str).collect();
    record.with_detail(&detail.join("; "))
}

/// The same for who asked.
pub(crate) fn told(done: Release) -> Released {
    let Release { undone, failed, notes, again } = done;
    Released { undone, failed, notes, again }
}

/// Puts it on record where there is no guard that would; whether it is.
pub(crate) fn put_on_record(
    config: &Config,
    (namespace, id): (&str, &str),
    by: &Operator,
    done: &Release,
) -> bool {
    let node = context::node();
    let silent = policy::Switchboard::new(Logger::root(slog::Discard, slog::o!()));
    let Ok(reports) = context::reports(config, &node) else { return false };
    let Ok(reporter) = Reporter::start(reports, Arc::new(silent)) else { return false };
    let origin = Origin {
        container_id: id.to_owned(),
        namespace: namespace.to_owned(),
        node,
        ..Origin::default()
    };
    reporter.released(record(&origin, by, done));
    let told = reporter.flush(TELL);
    reporter.stop(TELL);
    told
}
