//! What came of DELETE and RESTART, put on record by the helper process that did them: the
//! shim that started it may have ended with the container.

use std::sync::Arc;
use std::time::Duration;

use lacre_executor::Request;
use lacre_report::{Origin, Reporter};
use slog::Logger;

use super::policy::Switchboard;
use super::{context, helper_teller, responder};

/// For the policy server to take it; what it does not take is in the spool, for the next shim
/// of this node to deliver.
const TELL: Duration = Duration::from_secs(1);

/// Puts the outcome on record, and delivers it. Whether it is on record: in the file, or, where
/// there is a policy server, in the spool.
#[must_use]
pub fn record(request: &Request, outcome: &lacre_executor::Outcome) -> bool {
    let Some(config) = helper_teller::config(&request.teller) else { return false };
    let node = context::node();
    let silent = Arc::new(Switchboard::new(Logger::root(slog::Discard, slog::o!())));
    let Ok(reports) = context::reports(&config, &node) else { return false };
    // What is not on record stays with the request.
    let reports = lacre_report::Config { keeps_unwritten: false, ..reports };
    let Ok(reporter) = Reporter::start(reports, silent) else { return false };
    let origin = Origin {
        container_id: request.container.clone(),
        namespace: request.namespace.clone(),
        node,
        ..Origin::default()
    };
    reporter.answer(responder::outcome(&origin, outcome.clone()), None);
    let told = reporter.flush(TELL);
    reporter.stop(TELL);
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use lacre_executor::{Container, Manager, Outcome, Settings};
    use lacre_types::Action;

    #[test]
    fn an_outcome_is_recorded_where_the_shim_records() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            records: dir.path().join("violations.jsonl"),
            state: dir.path().join("state"),
            ..Config::default()
        };
        let container = Container {
            namespace: "default".into(),
            id: "one".into(),
            generation: "a1".into(),
            init_pid: 1,
            address: String::new(),
            manager: Manager::Containerd,
        };
        let settings = Settings {
            run: dir.path().into(),
            teller: helper_teller::teller(&config),
            ..Settings::default()
        };
        let mut request =
            Request::new(Action::Delete, &container, &settings, "test".into()).unwrap();
        let outcome = Outcome {
            action: Action::Delete,
            done: true,
            detail: "gone".into(),
            took: Duration::from_micros(7),
            cause: "test".into(),
            recorded: false,
            overtaken_by: None,
        };
        assert!(record(&request, &outcome));
        let line = std::fs::read_to_string(&config.records).unwrap();
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["record"], "outcome");
        assert_eq!((&entry["containerID"], &entry["result"]), (&"one".into(), &"done".into()));

        request.teller = String::new();
        assert!(!record(&request, &outcome), "nobody said where");
    }
}
