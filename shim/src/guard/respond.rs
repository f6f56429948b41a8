//! What follows a violation: the action, the record, the report, the event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lacre_analyzer::log_tampered;
use lacre_baseline::{Baseline, Lookup};
use lacre_executor::Executor;
use lacre_measure::Outcome;
use lacre_policy::{Because, Decision, resolve};
use lacre_report::{Became, Origin, OutcomeResult, Record, Reporter, Verdict};
use lacre_types::{Action, CanonicalPath, Mode, Source, Violation, ViolationKind};
use tokio::sync::mpsc;

use super::judge::{Rules, Seen};
use super::policies::Words;
use super::stream;
use crate::events::Events;

/// Two sources see one use within moments of each other; what comes later is another use.
const SAME_USE: Duration = Duration::from_secs(2);
/// How many uses are remembered to tell that. More within [`SAME_USE`] are a flood, of which
/// some are then told twice.
const REMEMBERED: usize = 64;

/// Answers the violations of one container, one after the other.
pub(super) struct Responder {
    pub(super) rules: Arc<Rules>,
    pub(super) baseline: Option<Arc<Baseline>>,
    pub(super) executor: Executor,
    pub(super) reporter: Arc<Reporter>,
    pub(super) events: Events,
    pub(super) origin: Origin,
    pub(super) recent: Recent,
}

impl Responder {
    /// Until the container is gone: nobody is left who could send.
    pub(super) async fn run(mut self, mut violations: mpsc::Receiver<Seen>, mut words: Words) {
        loop {
            tokio::select! {
                seen = violations.recv() => match seen {
                    Some(seen) => self.answer(seen),
                    None => break,
                },
                Ok(()) = words.policy.changed() => {
                    if let Some(policy) = words.policy.borrow_and_update().clone() {
                        self.rules.set_policy(policy);
                    }
                }
                Some(answer) = words.overrules.recv() => self.overrule(answer.action),
                Ok(()) = words.tampered.changed() => {
                    if let Some(since) = *words.tampered.borrow_and_update() {
                        self.tampered(since);
                    }
                }
            }
        }
    }

    fn answer(&mut self, Seen { violation, outcome }: Seen) {
        if self.recent.is_known(&violation) {
            return;
        }
        let decision = self.rules.decide(&violation);
        let denied = outcome != Outcome::Ran;
        let resolved = resolve(&decision, denied, self.rules.mode());
        // The action goes first: it stops what runs. The record tells of both.
        let acting = act_of(resolved.action).map(|action| self.start(action, &violation));
        let mut verdict = verdict(&decision, resolved.because, self.rules.mode(), outcome);
        place(&mut verdict, self.baseline.as_deref(), &violation);
        let record = Record::new(&self.origin, &violation, &verdict);
        stream::publish(&self.events, &record);
        let number = self.reporter.report(record);
        if let Some(acting) = acting {
            self.tell_when_done(acting, number);
        }
    }

    /// The server's word, which stands above the policy that was at hand. Audit mode
    /// touches nothing, whoever asks.
    fn overrule(&self, action: Action) {
        if self.rules.mode() == Mode::Enforce && act_of(action).is_some() {
            let acting = self.executor.act(action, "overruled by the policy server");
            self.tell_when_done(tokio::spawn(acting), None);
        }
    }

    /// A violation like any other: of every container of the node.
    fn tampered(&mut self, since: u64) {
        let reason = format!(
            "the policy server found this node's logs altered (second {since} after 1970); \
             `lacre node list` says what it found"
        );
        let violation = log_tampered(reason, SystemTime::now());
        self.answer(Seen { violation, outcome: Outcome::Ran });
    }

    fn start(
        &self,
        action: Action,
        violation: &Violation,
    ) -> tokio::task::JoinHandle<lacre_executor::Outcome> {
        let cause = format!("{} {}", violation.kind, violation.measurement.shown_path());
        // Called here and now, it freezes before the first await.
        tokio::spawn(self.executor.act(action, &cause))
    }

    fn tell_when_done(
        &self,
        acting: tokio::task::JoinHandle<lacre_executor::Outcome>,
        of: Option<u64>,
    ) {
        let (reporter, origin) = (Arc::clone(&self.reporter), self.origin.clone());
        let events = self.events.clone();
        tokio::spawn(async move {
            let Ok(done) = acting.await else { return };
            if done.action == Action::Pause && done.done {
                stream::paused(&events, &origin.container_id);
            }
            reporter.report(outcome(&origin, done, of));
        });
    }
}

/// What came of an action, for the record; `of` is the violation that it answers.
pub(super) fn outcome(
    origin: &Origin,
    done: lacre_executor::Outcome,
    of: Option<u64>,
) -> lacre_report::Outcome {
    let result = if done.done { OutcomeResult::Done } else { OutcomeResult::Failed };
    let mut outcome = lacre_report::Outcome::new(origin, done.action, result);
    outcome.of = of;
    outcome.micros = u64::try_from(done.took.as_micros()).ok();
    outcome.detail = Some(done.detail);
    outcome
}

/// What the executor has to do; SKIP and DENY are done where the code was.
const fn act_of(action: Action) -> Option<Action> {
    match action {
        Action::Skip | Action::Deny => None,
        other => Some(other),
    }
}

/// What the baseline knows of the file.
fn place(verdict: &mut Verdict, baseline: Option<&Baseline>, violation: &Violation) {
    if let (Some(baseline), Some(path)) = (baseline, &violation.measurement.path)
        && let Lookup::Found(entry) = baseline.entry(path)
    {
        verdict.file_kind = Some(entry.kind);
        verdict.layer = baseline.layer_of(path).map(|layer| layer.to_string());
    }
}

/// The record of a violation of a container that is gone: nothing is left to be done.
pub(super) fn record_of_gone(
    origin: &Origin,
    rules: &Rules,
    baseline: Option<&Baseline>,
    violation: &Violation,
) -> Record {
    let decision = rules.decide(violation);
    let resolved = resolve(&decision, false, rules.mode());
    let mut verdict = verdict(&decision, resolved.because, rules.mode(), Outcome::Ran);
    place(&mut verdict, baseline, violation);
    Record::new(origin, violation, &verdict)
}

fn verdict(decision: &Decision, because: Because, mode: Mode, outcome: Outcome) -> Verdict {
    let action = match because {
        Because::Rule => decision.action,
        Because::CannotDeny => decision.fallback.unwrap_or(Action::Kill),
        Because::Audit { .. } => Action::Skip,
    };
    let rule = match because {
        Because::Rule => decision.rule.to_string(),
        other => format!("{} ({other})", decision.rule),
    };
    Verdict {
        mode,
        action,
        became: match outcome {
            Outcome::Ran => Became::Ran,
            Outcome::Denied => Became::Denied,
            Outcome::Killed => Became::Killed,
        },
        rule: Some(rule),
        file_kind: None,
        layer: None,
    }
}

/// The uses that were told of, so that one use that several sources see is one record.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Use>);

#[derive(Debug, PartialEq, Eq)]
struct Use {
    pid: u32,
    kind: ViolationKind,
    path: Option<CanonicalPath>,
    source: Source,
    time: SystemTime,
}

impl Recent {
    fn is_known(&mut self, violation: &Violation) -> bool {
        let measurement = &violation.measurement;
        let fresh = Use {
            pid: measurement.process.pid,
            kind: violation.kind,
            path: measurement.path.clone(),
            source: measurement.source,
            time: measurement.time,
        };
        // The same source does not see one use twice.
        let known = fresh.pid != 0
            && self.0.iter().any(|old| {
                let apart =
                    fresh.time.duration_since(old.time).or_else(|e| Ok::<_, ()>(e.duration()));
                (old.pid, old.kind, &old.path) == (fresh.pid, fresh.kind, &fresh.path)
                    && old.source != fresh.source
                    && apart.is_ok_and(|apart| apart < SAME_USE)
            });
        if !known {
            if self.0.len() == REMEMBERED {
                self.0.pop_front();
            }
            self.0.push_back(fresh);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_types::{Content, Event, Measurement, Process};

    fn seen(source: Source, pid: u32, seconds: u64) -> Violation {
        Violation {
            kind: ViolationKind::EntryNotFound,
            measurement: Measurement {
                source,
                event: Event::Exec,
                path: CanonicalPath::new("/tmp/x").ok(),
                content: Content::Size(1),
                process: Process { pid, uid: None },
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            },
            expected: None,
        }
    }

    #[test]
    fn one_use_that_two_sources_see_is_told_once() {
        let mut recent = Recent::default();
        assert!(!recent.is_known(&seen(Source::Fanotify, 7, 10)));
        assert!(recent.is_known(&seen(Source::ExecTrace, 7, 11)));
        assert!(!recent.is_known(&seen(Source::Fanotify, 7, 11)), "the same source: another use");
        assert!(!recent.is_known(&seen(Source::ExecTrace, 8, 11)), "another process");
        assert!(!recent.is_known(&seen(Source::ExecTrace, 7, 20)), "later");
    }

    #[test]
    fn what_no_process_is_named_for_is_always_told() {
        let mut recent = Recent::default();
        assert!(!recent.is_known(&seen(Source::Fanotify, 0, 10)));
        assert!(!recent.is_known(&seen(Source::ExecTrace, 0, 10)));
    }
}
