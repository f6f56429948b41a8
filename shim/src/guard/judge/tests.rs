//! What is refused, told and let pass, with a baseline and before there is one.

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
