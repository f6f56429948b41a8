//! What the sources ask: a measurement, the baseline and the policy, and no I/O.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use lacre_analyzer::{Verdict, source_lost};
use lacre_baseline::Baseline;
use lacre_measure::exec_trace::Allower;
use lacre_measure::{Answer, Loss, Outcome};
use lacre_policy::{Decision, Effective};
use lacre_types::{Action, Measurement, Mode, Source, Violation, Whitelist};
use slog::Logger;
use tokio::sync::mpsc;

use super::evidence::Evidence;

/// Violations on their way to [`super::respond`]. Full, the source that has one more waits
/// with it: a flood slows its container down, and loses nothing.
pub(super) const QUEUE: usize = 1024;

/// A violation, and what became of what was measured.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) violation: Violation,
    pub(super) outcome: Outcome,
}

/// The policy as it is now, and how far it goes.
pub(super) struct Rules {
    policy: Mutex<Arc<Effective>>,
    mode: Mode,
}

impl Rules {
    pub(super) const fn new(policy: Arc<Effective>, mode: Mode) -> Self {
        Self { policy: Mutex::new(policy), mode }
    }

    pub(super) const fn mode(&self) -> Mode {
        self.mode
    }

    /// From the next verdict on, this one holds.
    pub(super) fn set_policy(&self, policy: Arc<Effective>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    pub(super) fn decide(&self, violation: &Violation) -> Decision {
        let policy = Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner));
        policy.decide(violation.kind, violation.measurement.path.as_ref())
    }
}

/// Judges what one container runs. Once the sources are disarmed and it is dropped, its
/// queue ends.
pub(super) struct Judge {
    baseline: Option<Arc<Baseline>>,
    rules: Arc<Rules>,
    violations: mpsc::Sender<Seen>,
    /// `exec-trace`'s map, which must know in time what another source lets pass.
    traced: OnceLock<Allower>,
    /// The container's own list.
    evidence: Evidence,
}

impl Judge {
    pub(super) fn new(
        baseline: Option<Arc<Baseline>>,
        rules: Arc<Rules>,
    ) -> (Self, mpsc::Receiver<Seen>) {
        let (violations, queue) = mpsc::channel(QUEUE);
        (
            Self {
                baseline,
                rules,
                violations,
                traced: OnceLock::new(),
                evidence: Evidence::default(),
            },
            queue,
        )
    }

    pub(super) fn trace(&self, allower: Allower) {
        // A container is armed once.
        let _ = self.traced.set(allower);
    }

    /// Begins the container's own list, if there is an agent that anchors it. Does I/O.
    pub(super) fn keep_list(&self, run: &Path, id: &str, image: &str, log: &Logger) {
        let violations = self.violations.clone();
        self.evidence.begin(run, id, image, log, move |why| {
            let violation = source_lost(Source::Attestation, why, SystemTime::now());
            // Without a reader the container is gone.
            let _ = violations.blocking_send(Seen { violation, outcome: Outcome::Ran });
        });
    }

    /// Nothing is seen of the container: its list can't be all.
    pub(super) fn blind(&self) {
        self.evidence.lost();
    }

    fn verdict(&self, measurement: &Measurement) -> Verdict {
        let baseline = self.baseline.as_deref().map(|baseline| baseline as &dyn Whitelist);
        lacre_analyzer::judge(baseline, measurement)
    }

    /// Hands a violation over; waits while the queue is full.
    pub(super) fn tell(&self, violation: Violation, outcome: Outcome) {
        // Without a reader the container is gone.
        let _ = self.violations.blocking_send(Seen { violation, outcome });
    }
}

impl lacre_measure::Judge for Judge {
    fn judge(&self, measurement: &Measurement) -> Answer {
        if self.rules.mode == Mode::Audit {
            return Answer::Allow;
        }
        match self.verdict(measurement) {
            Verdict::Allowed(_) => Answer::Allow,
            // Whatever else is to be done about it, it does not run.
            Verdict::Violation(violation) => match self.rules.decide(&violation).action {
                Action::Skip => Answer::Allow,
                _ => Answer::Deny,
            },
        }
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        matches!(self.verdict(measurement), Verdict::Allowed(_))
    }

    fn passes(&self, file: BorrowedFd<'_>, measurement: &Measurement) {
        // In audit mode `exec-trace` kills nothing, and reports for itself.
        if self.rules.mode == Mode::Audit {
            return;
        }
        if let Some(traced) = self.traced.get()
            && let Ok(id) = traced.identity(file)
        {
            // Not known there, it is killed: the safe side.
            let _ = traced.allow(&id, measurement.path.as_ref());
        }
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        // What was refused never ran. A kill may come after the first instructions.
        if outcome != Outcome::Denied {
            self.evidence.saw(&measurement);
        }
        if let Verdict::Violation(violation) = self.verdict(&measurement) {
            self.tell(violation, outcome);
        }
    }

    fn lost(&self, source: Source, loss: Loss) {
        self.evidence.lost();
        self.tell(source_lost(source, loss.to_string(), SystemTime::now()), Outcome::Ran);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_measure::Judge as _;
    use lacre_policy::{Policy, Subject};
    use lacre_types::{CanonicalPath, Content, Digest, Event, Process, ViolationKind};

    fn measured(path: &str) -> Measurement {
        Measurement {
            source: Source::Fanotify,
            event: Event::Exec,
            path: Some(CanonicalPath::new(path).unwrap()),
            content: Content::Digest(Digest::sha256([7; 32])),
            process: Process::default(),
            time: SystemTime::UNIX_EPOCH,
        }
    }

    fn judge(mode: Mode, policy: &str) -> (Judge, mpsc::Receiver<Seen>) {
        let (policy, _) = Policy::parse("p", policy.as_bytes()).unwrap();
        let policy = Arc::new(policy.effective(&Subject::default()));
        Judge::new(None, Arc::new(Rules::new(policy, mode)))
    }

    const SKIP: &str = "Actions: {NO_WHITELIST: {Default: SKIP}}";

    #[test]
    fn what_is_no_part_of_a_baseline_does_not_run_in_enforce_mode() {
        let (enforcing, _queue) = judge(Mode::Enforce, "Actions: {}");
        assert_eq!(enforcing.judge(&measured("/bin/sh")), Answer::Deny);
        let (watching, _queue) = judge(Mode::Audit, "Actions: {}");
        assert_eq!(watching.judge(&measured("/bin/sh")), Answer::Allow);
        assert!(!watching.settled(&measured("/bin/sh")), "let through is not allowed");
    }

    #[test]
    fn a_rule_may_let_it_pass_and_it_is_still_told() {
        let (lenient, mut queue) = judge(Mode::Enforce, SKIP);
        assert_eq!(lenient.judge(&measured("/bin/sh")), Answer::Allow);
        lenient.seen(measured("/bin/sh"), Outcome::Ran);
        assert_eq!(queue.try_recv().unwrap().violation.kind, ViolationKind::NoWhitelist);
    }

    #[test]
    fn a_policy_that_comes_later_holds_from_then_on() {
        let (judge, _queue) = judge(Mode::Enforce, "Actions: {}");
        let (policy, _) = Policy::parse("p", SKIP.as_bytes()).unwrap();
        judge.rules.set_policy(Arc::new(policy.effective(&Subject::default())));
        assert_eq!(judge.judge(&measured("/bin/sh")), Answer::Allow);
    }

    fn log() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[test]
    fn a_list_that_cannot_be_kept_is_a_loss() {
        let run = tempfile::tempdir().unwrap();
        // A folder in which nobody can make a file.
        std::os::unix::fs::symlink("/proc", run.path().join("evidence")).unwrap();
        let (judge, mut queue) = judge(Mode::Audit, "Actions: {}");
        judge.keep_list(run.path(), "ns/c", "demo:1", &log());
        assert_eq!(queue.try_recv().unwrap().violation.kind, ViolationKind::SourceLost);
    }

    #[test]
    fn what_was_denied_is_in_no_list_of_what_ran() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("evidence");
        std::fs::create_dir(&folder).unwrap();
        let (judge, _queue) = judge(Mode::Enforce, "Actions: {}");
        judge.keep_list(run.path(), "ns/c", "demo:1", &log());
        for (path, outcome) in [
            ("/bin/denied", Outcome::Denied),
            ("/bin/killed", Outcome::Killed),
            ("/bin/ran", Outcome::Ran),
        ] {
            judge.seen(measured(path), outcome);
        }
        drop(judge);
        assert_eq!(super::super::evidence::names(&folder), ["/bin/killed", "/bin/ran"]);
    }

    #[test]
    fn a_loss_is_a_violation() {
        let (judge, mut queue) = judge(Mode::Audit, "Actions: {}");
        judge.lost(Source::ExecTrace, Loss::Overflow(Some(3)));
        assert_eq!(queue.try_recv().unwrap().violation.kind, ViolationKind::SourceLost);
    }
}
