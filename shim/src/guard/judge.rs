//! What the sources ask: a measurement, the baseline and the policy, and no I/O.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use lacre_analyzer::{Verdict, report, source_lost};
use lacre_measure::exec_trace::Allower;
use lacre_measure::fanotify::Holder;
use lacre_measure::{Answer, CodeDirectories, Leased, LetPass, Loss, Outcome, Spared, Verified};
use lacre_policy::PathTable;
use lacre_types::{
    Action, CanonicalPath, Content, Jit, Measurement, Memory, Mode, Source, Violation,
    ViolationKind, Whitelist,
};
use slog::Logger;

use super::container_policy::Rules;
use super::evidence_list::Evidence;
use super::image_knowledge::LateImage;
use super::refusals::Refusals;
use super::sightings::{Sightings, Teller, sightings};

/// Of a process that was killed for a file which turned out to be the image's own.
const KILLED_UNKNOWN: &str = "it turned out to be the image's own, changed only in its metadata, \
                              and was used before that was known";

/// Judges what one container runs. Once the sources are disarmed and it is dropped, its
/// queue ends.
pub(super) struct Judge {
    image: Arc<LateImage>,
    rules: Arc<Rules>,
    violations: Teller,
    /// `exec-trace`'s map, which must know in time what another source lets pass.
    traced: OnceLock<Allower>,
    /// What fanotify refused to open a moment ago.
    refusals: Refusals,
    /// fanotify's hand, which holds what `exec-trace` does not know yet.
    holder: OnceLock<Holder>,
    /// The container's own list.
    evidence: Evidence,
}

impl Judge {
    pub(super) fn new(image: Arc<LateImage>, rules: Arc<Rules>) -> (Self, Arc<Sightings>) {
        let (violations, queue) = sightings();
        (
            Self {
                image,
                rules,
                violations,
                traced: OnceLock::new(),
                refusals: Refusals::default(),
                holder: OnceLock::new(),
                evidence: Evidence::default(),
            },
            queue,
        )
    }

    pub(super) fn trace(&self, allower: Allower) {
        // A container is armed once.
        let _ = self.traced.set(allower);
    }

    pub(super) fn hold(&self, holder: Holder) {
        let _ = self.holder.set(holder);
    }

    /// Begins the container's own list, if there is an agent that anchors it. Does I/O.
    pub(super) fn keep_list(&self, run: &Path, id: &str, image: &str, log: &Logger) {
        let (violations, rules) = (self.violations.clone(), Arc::clone(&self.rules));
        self.evidence.begin(run, id, image, log, move |why| {
            let violation = source_lost(Source::Attestation, why, SystemTime::now());
            violations.tell(violation, Outcome::Ran, |lost| rules.decide(lost).action);
        });
    }

    /// Whether memory that is made executable is a violation, which all sources that see it are
    /// needed for.
    pub(super) fn denies_memory(&self) -> bool {
        self.rules.jit() == Jit::Deny
    }

    /// Nothing is seen of the container: its list can't be all.
    pub(super) fn blind(&self) {
        self.evidence.lost();
    }

    /// How many uses were seen, by kind of violation.
    pub(super) fn counts(&self) -> BTreeMap<ViolationKind, u64> {
        self.violations.counts(self.rules.jit() == Jit::Allow)
    }

    /// What is known of the image.
    pub(super) fn image(&self) -> &LateImage {
        &self.image
    }

    fn verdict(&self, measurement: &Measurement) -> Verdict {
        let baseline = self.image.baseline().map(|baseline| baseline as &dyn Whitelist);
        lacre_analyzer::judge(baseline, measurement)
    }

    /// Hands a violation over, and waits for nobody.
    pub(super) fn tell(&self, violation: Violation, outcome: Outcome) {
        self.violations.tell(violation, outcome, |seen| self.rules.decide(seen).action);
    }
}

impl lacre_measure::Judge for Judge {
    fn judge(&self, measurement: &Measurement) -> Answer {
        if self.rules.mode() == Mode::Audit {
            return Answer::Allow;
        }
        match self.verdict(measurement) {
            Verdict::Allowed(_) => Answer::Allow,
            Verdict::Memory(_) if self.rules.jit() == Jit::Allow => Answer::Allow,
            // Whatever else is to be done about it, it does not run.
            Verdict::Violation(violation) | Verdict::Memory(violation) => {
                match self.rules.decide(&violation).action {
                    Action::Skip => Answer::Allow,
                    _ => Answer::Deny,
                }
            }
        }
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        matches!(self.verdict(measurement), Verdict::Allowed(_))
    }

    fn spared(&self) -> Spared {
        self.rules.spared()
    }

    fn let_pass(&self) -> LetPass {
        let policy = self.rules.policy();
        let baseline = self.image.baseline();
        let kind = match baseline {
            Some(_) => ViolationKind::EntryNotFound,
            None => ViolationKind::NoWhitelist,
        };
        let Some(table) = policy.path_table(kind) else {
            return LetPass { is_too_much: true, ..LetPass::default() };
        };
        let may =
            |kind, path: &CanonicalPath| policy.decide(kind, Some(path)).action == Action::Skip;
        let listed = baseline.iter().flat_map(|baseline| baseline.files()).flatten();
        let paths = listed.filter_map(|entry| CanonicalPath::new(entry.path).ok());
        let listed = paths
            .filter_map(|path| {
                let changed = may(ViolationKind::InvalidHash, &path);
                (changed != may(kind, &path)).then_some((path, changed))
            })
            .collect();
        let PathTable { transitions, lets_run } = table;
        LetPass { transitions, lets_run, listed, is_too_much: false }
    }

    fn code_directories(&self) -> CodeDirectories {
        let policy = self.rules.policy();
        let directories = policy.code_directories();
        CodeDirectories {
            any: !directories.is_empty(),
            paths: directories.paths().cloned().collect(),
        }
    }

    fn is_declared_code(&self, path: &CanonicalPath) -> bool {
        self.rules.policy().code_directories().hold(path)
    }

    fn judge_reading(&self, measurement: &Measurement) -> Answer {
        let audit = self.rules.mode() == Mode::Audit;
        let path = measurement.path.as_ref();
        match self.rules.policy().decide(ViolationKind::Report, path).action {
            Action::Skip => Answer::Allow,
            _ if audit => Answer::Allow,
            _ => Answer::Deny,
        }
    }

    fn read(&self, measurement: Measurement, outcome: Outcome) {
        let read = report(measurement);
        if self.rules.tells(&read) {
            self.tell(read, outcome);
        }
    }

    fn passes(&self, file: &Verified, measurement: &Measurement) {
        // What a rule lets run it knows by its name; by its inode it would run under any.
        if !self.settled(measurement) {
            return;
        }
        if let Some(traced) = self.traced.get() {
            // Not known there, it is killed: the safe side.
            let _ = traced.allow(file, measurement.path.as_ref());
        }
    }

    fn leased(&self, file: &Leased<'_>) {
        if let Some(traced) = self.traced.get() {
            traced.leased(file);
        }
    }

    fn lease_ends(&self, ino: u64) {
        if let Some(traced) = self.traced.get() {
            traced.lease_ends(ino);
        }
    }

    fn refuses(&self, measurement: &Measurement) {
        self.refusals.note(measurement);
    }

    fn was_refused(&self, measurement: &Measurement, exec: u64) -> bool {
        self.refusals.has(measurement, exec)
    }

    fn changed(&self, path: &CanonicalPath) {
        if let Some(holder) = self.holder.get() {
            holder.hold(path);
        }
    }

    fn seen(&self, mut measurement: Measurement, outcome: Outcome) {
        let verdict = self.verdict(&measurement);
        let is_let_be = matches!(verdict, Verdict::Memory(_)) && self.rules.jit() == Jit::Allow;
        if is_let_be && measurement.content == Content::Memory(Memory::Private) {
            return;
        }
        // What was refused never ran. A kill may come after the first instructions.
        if outcome != Outcome::Denied && !is_let_be {
            self.evidence.saw(&measurement);
        }
        // Whatever was found afterwards: nobody is killed and nobody told.
        let verdict = match verdict {
            Verdict::Allowed(_) if outcome == Outcome::Killed => {
                measurement.content = Content::Unread(KILLED_UNKNOWN.to_owned());
                self.verdict(&measurement)
            }
            verdict => verdict,
        };
        if let Verdict::Violation(violation) | Verdict::Memory(violation) = verdict {
            self.tell(violation, outcome);
        }
    }

    fn lost(&self, source: Source, loss: Loss) {
        self.evidence.lost();
        self.tell(source_lost(source, loss.to_string(), SystemTime::now()), Outcome::Ran);
    }
}

#[cfg(test)]
mod tests;
