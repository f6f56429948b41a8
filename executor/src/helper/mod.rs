//! The helper: a process of its own for what changes containerd's records, DELETE and RESTART.
//! It outlives the shim that asks, which ends with its task.

mod lock;
mod outcome_file;
mod recreate;
mod request;
mod retry;
mod snapshot;
mod spawn;

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use lacre_types::{Action, chain};

use crate::outcome::{Became, Outcome};
use crate::run_dir::{RunDirError, failed};

pub use outcome_file::{Record, collect};
pub use request::Request;
pub(crate) use spawn::run;
pub use spawn::spawn;

/// The helper's side: reads the request from `input`, acts, and has `tell` put the outcome on
/// record, there and then: whoever asked may have ended with the container. `tell` finds
/// the asker's [`Settings::teller`](crate::Settings::teller) in the request, and says whether
/// the outcome is on record; the asker then does not record it again.
pub fn main(input: impl Read, tell: impl FnOnce(&Request, &Outcome) -> bool) -> ExitCode {
    // Fails when it leads a group already, and then it is its own master anyway.
    let _ = rustix::process::setsid();
    match serve(input, io::stdout(), tell) {
        Ok(outcome) if outcome.done => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(_) => ExitCode::from(2),
    }
}

fn serve(
    input: impl Read,
    mut output: impl Write,
    tell: impl FnOnce(&Request, &Outcome) -> bool,
) -> Result<Outcome, RunDirError> {
    let what = "the request of a helper";
    let mut json = Vec::new();
    input
        .take(request::JSON_MAX)
        .read_to_end(&mut json)
        .map_err(failed("reading", Path::new("stdin")))?;
    let request: Request =
        serde_json::from_slice(&json).map_err(|source| RunDirError::Read { what, source })?;
    let start = Instant::now();
    let became = act(&request)
        .map_or_else(|error| Became::from((false, chain(error.as_ref()))), Became::from);
    let mut outcome = became.outcome(request.action, request.cause.clone(), start.elapsed());
    outcome.recorded = tell(&request, &outcome);
    if outcome.recorded {
        // For who asked, if it is still there; nobody else needs it.
        let json = serde_json::to_vec(&outcome).unwrap_or_default();
        let _ = output.write_all(&json).and_then(|()| output.flush());
    } else {
        outcome_file::write(&request, &outcome)?;
    }
    Ok(outcome)
}

fn act(request: &Request) -> Result<(bool, String), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match request.action {
        Action::Delete => runtime.block_on(recreate::delete(request)),
        Action::Restart => runtime.block_on(recreate::restart(request)),
        other => Err(format!("a helper does not do {other}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Container;
    use crate::manager::Manager;
    use crate::settings::Settings;
    use std::time::Duration;

    fn request(run: &Path, action: Action) -> Request {
        let container = Container {
            namespace: "default".into(),
            id: "one".into(),
            generation: "a1".into(),
            init_pid: 1,
            address: String::new(),
            manager: Manager::Containerd,
        };
        let settings =
            Settings { run: run.into(), teller: "by whom".into(), ..Settings::default() };
        Request::new(action, &container, &settings, "test".into()).unwrap()
    }

    /// As if whoever asked were gone: above any pid_max.
    fn of_nobody(request: Request) -> Request {
        let outcome = request.run.join("outcomes/default.one.4194305.0.json");
        Request { outcome, ..request }
    }

    #[test]
    fn what_nobody_waits_for_is_collected_once() {
        let run = tempfile::tempdir().unwrap();
        let request = request(run.path(), Action::Delete);
        let outcome = Became::from((true, "gone".to_owned())).outcome(
            Action::Delete,
            "test".into(),
            Duration::from_micros(1500),
        );
        outcome_file::write(&request, &outcome).unwrap();
        assert!(collect(run.path()).unwrap().is_empty(), "its waiter lives");
        assert_eq!(request.take_outcome(&b""[..]).unwrap(), outcome);

        outcome_file::write(&of_nobody(request), &outcome).unwrap();
        let found = collect(run.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].container.as_str(), &found[0].outcome), ("one", &outcome));
        assert!(collect(run.path()).unwrap().is_empty());
    }

    #[test]
    fn a_helper_tells_what_it_did_before_it_ends() {
        let run = tempfile::tempdir().unwrap();
        // What a helper does not do: it fails at once.
        let request = of_nobody(request(run.path(), Action::Pause));
        let json = serde_json::to_vec(&request).unwrap();
        let mut told = Vec::new();
        let mut said = Vec::new();
        let outcome = serve(&json[..], &mut said, |request, outcome| {
            told.push((request.teller.clone(), outcome.done));
            true
        });
        let outcome = outcome.unwrap();
        assert!(outcome.recorded);
        let heard = request.take_outcome(&said[..]).unwrap();
        assert!(heard.recorded && heard.detail == outcome.detail, "{heard:?}");
        assert_eq!(told, [("by whom".to_owned(), false)]);
        assert!(collect(run.path()).unwrap().is_empty() && !request.outcome.exists());

        serve(&json[..], Vec::new(), |_, _| false).unwrap();
        assert_eq!(collect(run.path()).unwrap().len(), 1, "it could not be told");
    }

    #[test]
    fn a_request_that_is_none_is_refused() {
        assert!(serve(&b"{}"[..], Vec::new(), |_, _| true).is_err());
        assert!(serve(&b""[..], Vec::new(), |_, _| true).is_err());
    }
}
