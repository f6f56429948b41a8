//! What the sources ask: a measurement, the baseline and the policy, and no I/O.

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

use super::evidence_list::Evidence;
use super::late_image::LateImage;
use super::refusals::Refusals;
use super::rules::Rules;
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
mod tests {
    use super::*;
    use lacre_measure::Judge as _;
    use lacre_policy::{Policy, Subject};
    use lacre_types::{Digest, Event, Process};

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

    fn judge(mode: Mode, policy: &str) -> (Judge, Arc<Sightings>) {
        let (policy, _) = Policy::parse("p", policy.as_bytes()).unwrap();
        let policy = Arc::new(policy.effective(&Subject::default()));
        Judge::new(Arc::default(), Arc::new(Rules::new(policy, mode)))
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
        let (lenient, queue) = judge(Mode::Enforce, SKIP);
        assert_eq!(lenient.judge(&measured("/bin/sh")), Answer::Allow);
        lenient.seen(measured("/bin/sh"), Outcome::Ran);
        assert_eq!(queue.take().seen[0].violation.kind, ViolationKind::NoWhitelist);
    }

    /// What a container that started without one runs is judged by its baseline once it is there.
    #[test]
    fn a_baseline_that_comes_later_holds_from_then_on() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("x.sh"), "#!/bin/sh\n").unwrap();
        let options = lacre_baseline::Options::default();
        let no = &lacre_baseline::NoProgress;
        let baseline = lacre_baseline::from_rootfs(root.path(), &options, no).unwrap();
        let own = baseline.get(0).unwrap().sha256();
        let (judge, queue) = judge(Mode::Enforce, SKIP);
        let own = Measurement { content: Content::Digest(own), ..measured("/x.sh") };
        let foreign = measured("/bin/sh");
        let mut changes = judge.rules.changes();
        for measurement in [&own, &foreign] {
            assert_eq!(judge.judge(measurement), Answer::Allow);
            judge.seen(measurement.clone(), Outcome::Ran);
        }
        assert!(queue.take().seen.iter().all(|it| it.violation.kind == ViolationKind::NoWhitelist));
        assert!(judge.let_pass().is_any());

        let image = lacre_baseline::Image::of_baseline(Arc::new(baseline)).unwrap();
        judge.image.came(image.into(), None);
        judge.rules.image_came();
        assert!(changes.has_changed().unwrap(), "the sources are told");
        changes.mark_unchanged();
        assert_eq!((judge.judge(&own), judge.judge(&foreign)), (Answer::Allow, Answer::Deny));
        assert!(judge.settled(&own) && judge.let_pass().is_empty());
        judge.seen(foreign, Outcome::Denied);
        assert_eq!(queue.take().seen[0].violation.kind, ViolationKind::EntryNotFound);
    }

    fn memory(sort: Memory) -> Measurement {
        Measurement { content: Content::Memory(sort), ..measured("/usr/bin/beam") }
    }

    /// Whoever has it, and whether there is a baseline or not.
    #[test]
    fn memory_is_a_violation_where_the_policy_says_so() {
        let denies = "JIT: deny\nActions: {FILELESS: {ByPath: [{/usr/**: SKIP}], Default: DENY}}";
        let spares = "JIT: deny\nActions: {FILELESS: {Default: SKIP}}";
        for sort in Memory::ALL {
            for (policy, answer, spared) in [
                ("Actions: {}", Answer::Allow, (true, false)),
                (denies, Answer::Deny, (false, false)),
                (spares, Answer::Allow, (true, true)),
            ] {
                let (judge, queue) = judge(Mode::Enforce, policy);
                assert_eq!(judge.judge(&memory(*sort)), answer, "{policy}");
                let Spared { memory: lives, programs } = judge.spared();
                assert_eq!((lives, programs), spared, "{policy}");
                judge.seen(memory(*sort), Outcome::Ran);
                let is_told = policy != "Actions: {}" || *sort == Memory::Shared;
                assert_eq!(queue.take().seen.len(), usize::from(is_told), "{policy}");
            }
        }
    }

    #[test]
    fn what_may_run_without_a_file_follows_the_policy_both_ways() {
        let (judge, _queue) = judge(Mode::Enforce, "Actions: {}");
        let mut changes = judge.rules.changes();
        for (text, memory) in [
            ("JIT: deny\nActions: {}", false),
            ("JIT: deny\nActions: {}", false),
            ("Actions: {}", true),
        ] {
            let is_other = memory != judge.spared().memory;
            let (policy, _) = Policy::parse("p", text.as_bytes()).unwrap();
            judge.rules.set_policy(Arc::new(policy.effective(&Subject::default())));
            assert_eq!(changes.has_changed().unwrap(), is_other, "{text}");
            changes.mark_unchanged();
            assert_eq!(judge.spared().memory, memory, "{text}");
        }
    }

    #[test]
    fn what_was_read_is_told_and_nothing_is_done_unless_the_policy_says_so() {
        let read = || Measurement { event: Event::Open, ..measured("/data/x") };
        for (policy, answer, told) in [
            ("Actions: {}", Answer::Allow, true),
            ("Report: none\nActions: {}", Answer::Allow, false),
            ("Actions: {REPORT: {ByPath: [{/data/**: DENY}]}}", Answer::Deny, true),
            ("Report: none\nActions: {REPORT: {Default: DENY}}", Answer::Deny, true),
        ] {
            let (judge, queue) = judge(Mode::Enforce, policy);
            assert_eq!(judge.judge_reading(&read()), answer, "{policy}");
            judge.read(read(), Outcome::Ran);
            let seen = queue.take().seen;
            assert_eq!(seen.len(), usize::from(told), "{policy}");
            assert!(seen.iter().all(|seen| seen.violation.kind == ViolationKind::Report));
        }
        let (watching, _queue) = judge(Mode::Audit, "Actions: {REPORT: {Default: DENY}}");
        assert_eq!(watching.judge_reading(&read()), Answer::Allow);
    }

    #[test]
    fn code_directories_are_those_of_the_policy_that_holds() {
        let (judge, _queue) = judge(Mode::Enforce, "Actions: {}");
        let path = CanonicalPath::new("/srv/app/x").unwrap();
        assert!(!judge.code_directories().any && !judge.is_declared_code(&path));
        let text = b"CodeDirectories: {Default: [/srv/app, /opt/*]}\nActions: {}";
        let (policy, _) = Policy::parse("p", text).unwrap();
        judge.rules.set_policy(Arc::new(policy.effective(&Subject::default())));
        let CodeDirectories { any, paths } = judge.code_directories();
        assert!(any && paths == [CanonicalPath::new("/srv/app").unwrap()]);
        assert!(judge.is_declared_code(&path));
    }

    #[test]
    fn a_policy_that_comes_later_holds_from_then_on() {
        let (judge, _queue) = judge(Mode::Enforce, "Actions: {}");
        let (policy, _) = Policy::parse("p", SKIP.as_bytes()).unwrap();
        judge.rules.set_policy(Arc::new(policy.effective(&Subject::default())));
        assert_eq!(judge.judge(&measured("/bin/sh")), Answer::Allow);
    }

    #[test]
    fn a_policy_for_enforce_tightens_for_good() {
        let (judge, _queue) = judge(Mode::Audit, "Actions: {}");
        assert_eq!(judge.judge(&measured("/bin/sh")), Answer::Allow);
        let modes = judge.rules.modes();
        for (text, mode) in [
            ("Actions: {}", Mode::Audit),
            ("Mode: enforce\nActions: {}", Mode::Enforce),
            ("Mode: audit\nActions: {}", Mode::Enforce),
            ("Actions: {}", Mode::Enforce),
        ] {
            let (policy, _) = Policy::parse("p", text.as_bytes()).unwrap();
            judge.rules.set_policy(Arc::new(policy.effective(&Subject::default())));
            assert_eq!((judge.rules.mode(), *modes.borrow()), (mode, mode), "{text}");
        }
        assert_eq!(judge.judge(&measured("/bin/sh")), Answer::Deny);
    }

    /// However late it is told: the container is not killed for what audit let pass.
    #[test]
    fn what_was_only_watched_is_answered_as_audit_though_the_mode_has_tightened() {
        let (judge, _queue) = judge(Mode::Audit, "Actions: {}");
        let (policy, _) = Policy::parse("p", b"Mode: enforce\nActions: {}").unwrap();
        judge.rules.set_policy(Arc::new(policy.effective(&Subject::default())));
        assert_eq!(judge.rules.mode_of(Outcome::Watched), Mode::Audit);
        for outcome in [Outcome::Ran, Outcome::Killed, Outcome::Denied] {
            assert_eq!(judge.rules.mode_of(outcome), Mode::Enforce, "{outcome:?}");
        }
    }

    fn log() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    #[test]
    fn a_list_that_cannot_be_kept_is_a_loss() {
        let run = tempfile::tempdir().unwrap();
        // A folder in which nobody can make a file.
        std::os::unix::fs::symlink("/proc", run.path().join("evidence")).unwrap();
        let (judge, queue) = judge(Mode::Audit, "Actions: {}");
        judge.keep_list(run.path(), "ns/c", "demo:1", &log());
        assert_eq!(queue.take().seen[0].violation.kind, ViolationKind::SourceLost);
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
        assert_eq!(super::super::evidence_list::names(&folder), ["/bin/killed", "/bin/ran"]);
    }

    #[test]
    fn a_loss_is_a_violation() {
        let (judge, queue) = judge(Mode::Audit, "Actions: {}");
        judge.lost(Source::ExecTrace, Loss::Overflow(Some(3)));
        assert_eq!(queue.take().seen[0].violation.kind, ViolationKind::SourceLost);
    }
}
