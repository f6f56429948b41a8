//! A container for which no baseline can be had.

use std::sync::Arc;
use std::time::SystemTime;

use lacre_analyzer::Verdict;
use lacre_measure::{Armed, Outcome};
use lacre_types::{
    Action, CanonicalPath, Content, Event, Measurement, Mode, Process, Source, Violation,
    ViolationKind,
};

use super::Refusal;
use super::container_policy::Rules;
use super::judge::Judge;

/// A container with no baseline is a violation before it runs anything; in enforce
/// mode it starts only where the policy says SKIP. `why` says why there is none.
pub(super) async fn refuse(
    judge: &Arc<Judge>,
    rules: &Rules,
    armed: Vec<Box<dyn Armed>>,
    why: &str,
) -> Result<Vec<Box<dyn Armed>>, Refusal> {
    let violation = no_whitelist(why);
    let decision = rules.decide(&violation);
    let starts = rules.mode() == Mode::Audit || decision.action == Action::Skip;
    let seen = if starts { Outcome::Ran } else { Outcome::Denied };
    judge.tell(violation, seen);
    if starts {
        return Ok(armed);
    }
    // Nothing of it has run.
    let _ = tokio::task::spawn_blocking(move || drop(armed)).await;
    Err(Refusal::denied(format!(
        "there is no baseline for this container (NO_WHITELIST): {why}. The policy says {}; let it \
         say SKIP to run without one ({})",
        decision.action, decision.rule
    )))
}

fn no_whitelist(why: &str) -> Violation {
    let measurement = Measurement {
        source: Source::Fanotify,
        event: Event::Exec,
        path: CanonicalPath::new("/").ok(),
        content: Content::Unread(format!("the container has no baseline: {why}")),
        process: Process::default(),
        time: SystemTime::now(),
    };
    match lacre_analyzer::judge(None, &measurement) {
        Verdict::Violation(violation) | Verdict::Memory(violation) => violation,
        Verdict::Allowed(_) => {
            Violation { kind: ViolationKind::NoWhitelist, measurement, expected: None }
        }
    }
}
