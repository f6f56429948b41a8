//! That a container was not created, since a program that would have run it is not what the node
//! lists: put on record before anybody guards it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lacre_report::{Became, Origin, Record, Reporter, Verdict};
use lacre_types::{Action, Mode};
use slog::{Logger, warn};

use super::context;
use super::policy::Switchboard;
use crate::config::Config;

/// For the record file, and for the spool where there is a policy server: the next shim of this
/// node delivers that.
const TELL: Duration = Duration::from_secs(2);

/// Puts the refusal on record. `why` says which program it is.
pub(crate) fn record_refusal(config: &Config, namespace: &str, id: &str, why: &str, log: &Logger) {
    let node = context::node();
    let silent = Arc::new(Switchboard::new(Logger::root(slog::Discard, slog::o!())));
    let reports = context::reports(config, &node);
    let Ok(Ok(reporter)) = reports.map(|reports| Reporter::start(reports, silent)) else {
        warn!(log, "a refusal could not be put on record"; "id" => id, "why" => why);
        return;
    };
    let origin = Origin {
        container_id: id.to_owned(),
        namespace: namespace.to_owned(),
        unknown: Some("it was refused before anybody was asked whose it is".to_owned()),
        node,
        ..Origin::default()
    };
    let violation = lacre_analyzer::log_tampered(why.to_owned(), SystemTime::now());
    let verdict = Verdict {
        mode: Mode::Enforce,
        action: Action::Deny,
        became: Became::Denied,
        rule: Some("the node's list of programs".to_owned()),
        file_kind: None,
        layer: None,
    };
    let _ = reporter.report(Record::new(&origin, &violation, &verdict));
    reporter.flush(TELL);
    reporter.stop(TELL);
}
