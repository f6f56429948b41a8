//! What follows a violation: the action, the record, the report, the event.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use lacre_analyzer::log_tampered;
use lacre_baseline::{Baseline, Lookup};
use lacre_executor::Executor;
use lacre_measure::Outcome;
use lacre_policy::{Because, Decision, resolve};
use lacre_report::{Became, Number, Origin, OutcomeResult, Record, Reporter, Told, Verdict};
use lacre_types::{
    Action, CanonicalPath, Content, Jit, Measurement, Mode, Violation, ViolationKind,
};
use slog::{Logger, info};

use super::actions_under_way::{Acting, Cause};
use super::container_policy::Rules;
use super::image_knowledge::LateImage;
use super::policy::Words;
use super::sightings::{Batch, Seen, Sightings};
use super::task_events;
use crate::node::events::Events;

/// Answers the violations of one container, one after the other.
pub(super) struct Responder {
    pub(super) rules: Arc<Rules>,
    pub(super) image: Arc<LateImage>,
    pub(super) executor: Executor,
    pub(super) reporter: Arc<Reporter>,
    pub(super) events: Events,
    pub(super) origin: Origin,
    pub(super) acting: Arc<Acting>,
    pub(super) log: Logger,
    /// Programs of the image whose memory the log has told of.
    pub(super) engines: BTreeSet<CanonicalPath>,
}

/// Programs of an image that the log tells of: more than any has that compile as they run. A
/// container that links its programs to more names than this is told of no further.
const ENGINES: usize = 64;

impl Responder {
    /// Until the container is gone: nobody is left who could send.
    pub(super) async fn run(mut self, violations: Arc<Sightings>, mut words: Words) {
        loop {
            tokio::select! {
                batch = violations.next() => match batch {
                    Some(batch) => self.answer_all(batch),
                    None => break,
                },
                Ok(()) = words.policy.changed() => {
                    if let Some(policy) = words.policy.borrow_and_update().clone() {
                        self.rules.set_policy(policy);
                    }
                }
                Some(answer) = words.overrules.recv() => self.overrule(answer.action),
                Some(held) = words.held.recv() => {
                    task_events::held(&self.events, &self.origin, &held);
                }
                Ok(()) = words.tampered.changed() => {
                    if let Some(since) = *words.tampered.borrow_and_update() {
                        self.tampered(since);
                    }
                }
            }
        }
    }

    fn answer_all(&mut self, batch: Batch) {
        batch.seen.into_iter().for_each(|seen| self.answer(seen));
        for seen in batch.beyond {
            // What it is of the many is not told; that it is stopped is what matters.
            let (_, _, action) = self.decide(&seen.violation, seen.outcome);
            if let Some(action) = act_of(action) {
                let acting = self.begin(action, Cause::of(&seen.violation));
                self.follow(acting, None);
            }
            let (kind, uses) = (seen.violation.kind, seen.uses);
            self.reporter.lost(&self.origin.namespace, &self.origin.container_id, kind, uses);
        }
    }

    fn decide(&self, violation: &Violation, outcome: Outcome) -> (Decision, Because, Action) {
        let mut decision = self.rules.decide(violation);
        let mode = self.rules.mode_of(outcome);
        // Another runtime than the node lists was to start something, and did not: who runs in the
        // container has done nothing.
        if (violation.kind, outcome) == (ViolationKind::LogTampered, Outcome::Denied) {
            decision.action = Action::Deny;
            return (decision, Because::Rule, Action::Deny);
        }
        // With who ran it gone by itself, there is nothing left to end but others' processes.
        let is_over = outcome == Outcome::Ended && !decision.is_fallback_said;
        let denies = is_over || can_deny(&violation.measurement, outcome, mode);
        let resolved = resolve(&decision, denies, mode);
        (decision, resolved.because, resolved.action)
    }

    fn record(&self, violation: &Violation, outcome: Outcome) -> (Record, Action) {
        let (decision, because, action) = self.decide(violation, outcome);
        let mut verdict = verdict(&decision, because, self.rules.mode_of(outcome), outcome);
        place(&mut verdict, self.image.baseline(), violation);
        (Record::new(&self.origin, violation, &verdict), action)
    }

    fn answer(&mut self, seen: Seen) {
        if let Content::Memory(_) = seen.violation.measurement.content
            && self.rules.jit() == Jit::Allow
        {
            return self.tell_of_memory(&seen);
        }
        let Seen { violation, outcome, uses, last, before } = seen;
        let (record, action) = self.record(&violation, outcome);
        // The action goes first: it stops what runs. The record tells of both.
        let acting = act_of(action).and_then(|action| self.begin(action, Cause::of(&violation)));
        let record = record.standing_for(uses, last);
        let told = match before {
            None => self.reporter.report(record.clone()),
            Some((before, told)) => {
                let (before, _) = self.record(&before, told);
                self.reporter.amend(&before, record.clone())
            }
        };
        let number = match told {
            Told::Anew(number) => {
                // What may be data, and is let be, is nobody's alarm.
                if (violation.kind, record.action) != (ViolationKind::Report, Action::Skip) {
                    task_events::publish(&self.events, &record);
                }
                Some(number)
            }
            Told::Counted(number) => Some(number),
            Told::Lost => None,
        };
        self.follow(acting, number);
    }

    /// Memory that the policy lets be: of a program of the image it is counted, and of any other
    /// it is on record, with nothing to follow.
    fn tell_of_memory(&mut self, seen: &Seen) {
        let Seen { violation, outcome, uses, last, .. } = seen;
        let program = violation.measurement.path.as_ref();
        let is_listed = |path: &CanonicalPath| {
            let baseline = self.image.baseline();
            baseline.is_some_and(|it| matches!(it.entry(path), Lookup::Found(_)))
        };
        if let Some(program) = program.filter(|path| is_listed(path)) {
            if self.engines.len() < ENGINES && self.engines.insert(program.clone()) {
                info!(self.log, "a program of the image runs what it made in shared memory";
                    "program" => program.to_string());
            }
            return;
        }
        let mut verdict = Verdict {
            mode: self.rules.mode_of(*outcome),
            action: Action::Skip,
            became: became(*outcome),
            rule: Some("JIT: allow".to_owned()),
            file_kind: None,
            layer: None,
        };
        place(&mut verdict, self.image.baseline(), violation);
        let record = Record::new(&self.origin, violation, &verdict).standing_for(*uses, *last);
        let _ = self.reporter.report(record);
    }

    /// The server's word, which stands above the policy that was at hand. Audit mode
    /// touches nothing, whoever asks.
    fn overrule(&self, action: Action) {
        if self.rules.mode() == Mode::Enforce && act_of(action).is_some() {
            let says = "overruled by the policy server".to_owned();
            let acting = self.begin(action, Cause { kind: None, says });
            self.follow(acting, None);
        }
    }

    /// A violation like any other: of every container of the node.
    fn tampered(&mut self, since: u64) {
        let reason = format!(
            "the policy server found this node's logs altered (second {since} after 1970); \
             `lacre node list` says what it found"
        );
        let now = SystemTime::now();
        let violation = log_tampered(reason, now);
        self.answer(Seen { violation, outcome: Outcome::Ran, uses: 1, last: now, before: None });
    }

    /// Begins an action. `None`: the same one is under way, and will be done once more after it.
    fn begin(&self, action: Action, cause: Cause) -> Option<Begun> {
        if self.acting.is_under_way(action, &cause) {
            return None;
        }
        // Called here and now, it freezes before the first await.
        let done = Box::pin(self.executor.act(action, &cause.says));
        Some(Begun { action, kind: cause.kind, done })
    }

    /// Tells what comes of it, has what the policy says be done in its stead where it can't be
    /// (each action once), and does it again for those who asked meanwhile.
    fn follow(&self, begun: Option<Begun>, of: Option<Number>) {
        let Some(Begun { action: first, mut kind, mut done }) = begun else { return };
        let (reporter, origin) = (Arc::clone(&self.reporter), self.origin.clone());
        let (events, executor) = (self.events.clone(), self.executor.clone());
        let (acting, rules) = (Arc::clone(&self.acting), Arc::clone(&self.rules));
        let (mut of, mut tried) = (of, Vec::new());
        tokio::spawn(async move {
            loop {
                let outcome_of = done.await;
                tried.push(outcome_of.action);
                let over = outcome_of.done || outcome_of.overtaken_by.is_some();
                let next = if over { None } else { rules.instead(kind, first, &tried) };
                let why = format!("{} was not done: {}", outcome_of.action, outcome_of.detail);
                // Before anything is written: what failed leaves the intruder running.
                let instead = next.map(|action| executor.act(action, &why));
                if outcome_of.action == Action::Pause && outcome_of.done {
                    task_events::paused(&events, &origin.container_id);
                }
                if !outcome_of.recorded {
                    reporter.answer(outcome(&origin, outcome_of), of.clone());
                }
                done = match instead {
                    Some(instead) => Box::pin(instead),
                    None => {
                        let Some(cause) = acting.again(first) else { return };
                        of = None;
                        tried.clear();
                        kind = cause.kind;
                        Box::pin(executor.act(first, &cause.says))
                    }
                };
            }
        });
    }
}

/// An action that has begun.
struct Begun {
    action: Action,
    kind: Option<ViolationKind>,
    done: Pin<Box<dyn Future<Output = lacre_executor::Outcome> + Send>>,
}

/// Whether who saw it has refused it; in audit, whether it would have under enforce.
fn can_deny(measurement: &Measurement, outcome: Outcome, mode: Mode) -> bool {
    // Memory goes with its process: one that could not be killed has ended.
    let is_memory = matches!(measurement.content, Content::Memory(_));
    is_memory || !outcome.ran() || (mode == Mode::Audit && measurement.source.holds_back())
}

/// What came of an action, for the record.
pub(super) fn outcome(origin: &Origin, done: lacre_executor::Outcome) -> lacre_report::Outcome {
    let result = if done.done { OutcomeResult::Done } else { OutcomeResult::Failed };
    let mut outcome = lacre_report::Outcome::new(origin, done.action, result);
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
pub(crate) fn record_of_gone(
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

const fn became(outcome: Outcome) -> Became {
    match outcome {
        Outcome::Ran | Outcome::Watched => Became::Ran,
        Outcome::Denied => Became::Denied,
        Outcome::Killed => Became::Killed,
        Outcome::Ended => Became::Ended,
    }
}

fn verdict(decision: &Decision, because: Because, mode: Mode, outcome: Outcome) -> Verdict {
    let action = match because {
        Because::Rule => decision.action,
        Because::CannotDeny => decision.undeniable(),
        Because::Audit { .. } => Action::Skip,
    };
    let rule = match because {
        Because::Rule => decision.rule.to_string(),
        other => format!("{} ({other})", decision.rule),
    };
    Verdict {
        mode,
        action,
        became: became(outcome),
        rule: Some(rule),
        file_kind: None,
        layer: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_types::{Event, Process, Source};

    #[test]
    fn audit_says_of_denying_what_enforce_would_do() {
        let of = |source| Measurement {
            source,
            event: Event::Exec,
            path: None,
            content: Content::Size(1),
            process: Process::default(),
            time: SystemTime::UNIX_EPOCH,
        };
        for (source, holds_back) in [
            (Source::Fanotify, true),
            (Source::ExecTrace, true),
            (Source::ExecMap, false),
            (Source::Ima, false),
            (Source::ContainerIma, false),
        ] {
            for outcome in [Outcome::Watched, Outcome::Ran] {
                let says = can_deny(&of(source), outcome, Mode::Audit);
                assert_eq!(says, holds_back, "{source}");
            }
            assert!(!can_deny(&of(source), Outcome::Ran, Mode::Enforce), "it was not refused");
            assert!(can_deny(&of(source), Outcome::Denied, Mode::Enforce));
        }
    }
}
