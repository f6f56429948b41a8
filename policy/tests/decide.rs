//! What rules match, and which of several.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lacre_policy::{Because, Effective, Policy, Subject, resolve};
use lacre_types::{Action, CanonicalPath, Digest, Jit, Mode, ViolationKind};

fn policy(rules: &str) -> Policy {
    let indented: String = rules.lines().map(|line| format!("    {line}\n")).collect();
    let file = format!("Actions:\n  ENTRY_NOT_FOUND:\n{indented}");
    let (policy, warnings) =
        Policy::parse("p.yaml", file.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{}", warnings[0]);
    policy
}

fn decide(policy: &Policy, subject: Subject<'_>, path: &str) -> Action {
    let path = CanonicalPath::new(path).unwrap();
    policy.decide(&subject, ViolationKind::EntryNotFound, Some(&path)).action
}

fn named(name: &str) -> Subject<'_> {
    Subject { image_name: Some(name), ..Subject::default() }
}

fn id(id: &str) -> Subject<'_> {
    Subject { container_id: id, ..Subject::default() }
}

#[test]
fn an_id_may_be_short_and_the_longer_goes_first() {
    let whole = format!("0123456789ab{}", "c".repeat(52));
    let policy = policy(
        "ByContainerID:\n- 0123456789ab: STOP\n- sha256:0123456789abcc: PAUSE\n\
         - web-1: SKIP\nDefault: KILL",
    );
    assert_eq!(decide(&policy, id(&whole), "/x"), Action::Pause);
    assert_eq!(decide(&policy, id(&whole.replace("bcc", "bdd")), "/x"), Action::Stop);
    assert_eq!(decide(&policy, id("web-1"), "/x"), Action::Skip);
    assert_eq!(decide(&policy, id("web-10"), "/x"), Action::Kill);
}

#[test]
fn a_chosen_id_does_not_pass_for_a_short_one() {
    let policy = policy("ByContainerID:\n- 0123456789ab: SKIP\nDefault: KILL");
    assert_eq!(decide(&policy, id("0123456789ab-mine"), "/x"), Action::Kill);
    assert_eq!(decide(&policy, id("0123456789abc"), "/x"), Action::Kill);
}

#[test]
fn a_digest_may_be_any_of_the_images_and_the_first_rule_wins() {
    let digest = |c: &str| format!("sha256:{}", c.repeat(64)).parse::<Digest>().unwrap();
    let policy = policy(&format!(
        "ByContainerImageDigest:\n- {}: STOP\n- sha256:{}: SKIP\nDefault: KILL",
        "a".repeat(64),
        "b".repeat(64)
    ));
    let of = |digests: &[Digest]| {
        decide(&policy, Subject { image_digests: digests, ..Subject::default() }, "/x")
    };
    assert_eq!(of(&[digest("c"), digest("b")]), Action::Skip);
    assert_eq!(of(&[digest("b"), digest("a")]), Action::Stop);
    assert_eq!(of(&[digest("c")]), Action::Kill);
}

#[test]
fn a_name_is_completed_as_docker_does_and_goes_before_every_glob() {
    let policy = policy(
        "ByContainerImageName:\n- \"nginx:*\": PAUSE\n- nginx: SKIP\n\
         - \"registry.example/**\": STOP\n- \"registry.example/team/*\": ISOLATE\nDefault: KILL",
    );
    for same in ["nginx", "nginx:latest", "docker.io/nginx", "docker.io/library/nginx:latest"] {
        assert_eq!(decide(&policy, named(same), "/x"), Action::Skip, "{same}");
    }
    assert_eq!(decide(&policy, named("nginx:1.25"), "/x"), Action::Pause);
    assert_eq!(decide(&policy, named("evil.example/nginx"), "/x"), Action::Kill);
    // Of two globs the one that stands first.
    assert_eq!(decide(&policy, named("registry.example/team/app:1"), "/x"), Action::Stop);
    // A tag beside a digest is looked at by nobody, so it cannot earn a rule.
    let pinned = format!("nginx:latest@sha256:{}", "a".repeat(64));
    assert_eq!(decide(&policy, named(&pinned), "/x"), Action::Kill);
}

#[test]
fn labels_annotations_namespaces_and_paths_come_after_names_in_that_order() {
    let policy = policy(
        "ByContainerImageName:\n- app: SKIP\nByLabel:\n- team=a: PAUSE\n\
         ByAnnotation:\n- example.com/tier=db-*: ISOLATE\nByNamespace:\n- kube-*: STOP\n\
         ByPath:\n- /data/**: RESTART\nDefault: KILL",
    );
    let mut subject = Subject {
        image_name: Some("app"),
        labels: &[("team", "a")],
        annotations: &[("example.com/tier", "db-1")],
        namespaces: &["k8s.io", "kube-system"],
        ..Subject::default()
    };
    assert_eq!(decide(&policy, subject, "/data/x"), Action::Skip);
    subject.image_name = None;
    assert_eq!(decide(&policy, subject, "/data/x"), Action::Pause);
    subject.labels = &[("team", "b")];
    assert_eq!(decide(&policy, subject, "/data/x"), Action::Isolate);
    subject.annotations = &[("tier", "db-1")];
    assert_eq!(decide(&policy, subject, "/data/x"), Action::Stop);
    subject.namespaces = &["k8s.io", "default"];
    assert_eq!(decide(&policy, subject, "/data/x"), Action::Restart);
    assert_eq!(decide(&policy, subject, "/x"), Action::Kill);
}

#[test]
fn a_pair_matches_exactly_before_a_glob_or_a_key_alone() {
    let policy = policy(
        "ByLabel:\n- app: PAUSE\n- app=web-*: STOP\n- app=web-1: SKIP\n- empty=: ISOLATE\nDefault: KILL",
    );
    let labelled =
        |labels: &[(&str, &str)]| decide(&policy, Subject { labels, ..Subject::default() }, "/x");
    assert_eq!(labelled(&[("app", "web-1")]), Action::Skip);
    assert_eq!(labelled(&[("app", "web-2")]), Action::Pause);
    assert_eq!(labelled(&[("empty", "")]), Action::Isolate);
    assert_eq!(labelled(&[("empty", "x")]), Action::Kill);
    assert_eq!(labelled(&[("appx", "web-1")]), Action::Kill);
}

#[test]
fn a_rule_for_a_container_may_have_paths_of_its_own() {
    let policy = policy(
        "ByContainerImageName:\n- builder:\n    ByPath:\n    - /build/**: SKIP\n    Default: STOP\n\
         ByPath:\n- /tmp/**: PAUSE\nDefault: KILL",
    );
    assert_eq!(decide(&policy, named("builder"), "/build/a.out"), Action::Skip);
    assert_eq!(decide(&policy, named("builder"), "/tmp/a.out"), Action::Stop);
    assert_eq!(decide(&policy, named("other"), "/build/a.out"), Action::Kill);
    assert_eq!(decide(&policy, named("other"), "/tmp/a.out"), Action::Pause);
    let path = CanonicalPath::new("/build/a.out").unwrap();
    let decision = policy.decide(&named("builder"), ViolationKind::EntryNotFound, Some(&path));
    assert_eq!(
        decision.rule.to_string(),
        "Actions.ENTRY_NOT_FOUND.ByContainerImageName[\"builder\"].ByPath[\"/build/**\"]"
    );
    assert_eq!(decision.rule.line(), Some(6));
}

#[test]
fn paths_are_bytes_and_what_a_record_shows_can_be_pasted() {
    let policy = policy("ByPath:\n- '//data/./\\xff\\n': SKIP\n- '**/*.so': PAUSE\nDefault: KILL");
    let at = |path: &[u8]| {
        let path = CanonicalPath::new(path).unwrap();
        policy.decide(&Subject::default(), ViolationKind::EntryNotFound, Some(&path)).action
    };
    assert_eq!(at(b"/data/\xff\n"), Action::Skip);
    assert_eq!(at(b"/opt/\xfe/x.so"), Action::Pause);
    assert_eq!(at(b"/data/\xfe\n"), Action::Kill);
}

#[test]
fn without_a_path_no_path_rule_matches() {
    let policy = policy("ByPath:\n- \"**\": SKIP\nDefault: KILL");
    let decision = policy.decide(&Subject::default(), ViolationKind::EntryNotFound, None);
    assert_eq!(decision.action, Action::Kill);
}

#[test]
fn audit_touches_nothing_and_tells_what_enforce_would_do() {
    let kinds = ViolationKind::ALL;
    let policy = Policy::default_for(Mode::Audit);
    for (kind, can_deny) in kinds.iter().flat_map(|kind| [(*kind, true), (*kind, false)]) {
        let decision = policy.default_of(kind);
        let audit = resolve(&decision, can_deny, Mode::Audit);
        let enforce = resolve(&decision, can_deny, Mode::Enforce);
        assert_eq!(audit.action, Action::Skip);
        assert_eq!(audit.because, Because::Audit { would: enforce.action });
        let expected = match kind {
            ViolationKind::LogTampered => Action::Pause,
            ViolationKind::SourceLost => Action::Kill,
            ViolationKind::Report => Action::Skip,
            _ if can_deny => Action::Deny,
            _ => Action::Kill,
        };
        assert_eq!(enforce.action, expected, "{kind}");
    }
}

#[test]
fn deny_falls_back_as_the_file_says() {
    let file =
        b"Actions: {}\nMode: enforce\nGracePeriod: 3s\nFallback: {DENY: PAUSE, REMOVE: STOP}";
    let (policy, _) = Policy::parse("p.yaml", file).unwrap();
    let decision = policy.default_of(ViolationKind::Fileless);
    assert_eq!(decision.grace.as_secs(), 3);
    let resolved = resolve(&decision, false, policy.mode_on(Mode::Audit));
    assert_eq!(resolved.action, Action::Pause);
    assert_eq!(resolved.because, Because::CannotDeny);
    assert_eq!(policy.fallbacks().of(Action::Delete), Some(Action::Stop));
    assert_eq!(policy.fallbacks().of(Action::Isolate), Some(Action::Kill));
    assert_eq!(policy.fallbacks().of(Action::Kill), None);
}

/// Of a rule of FILELESS where it says it, else of the file.
#[test]
fn whether_memory_is_meant_is_said_for_all_and_for_some() {
    let (policy, warnings) = Policy::parse(
        "p",
        b"JIT: deny
Actions:
  FILELESS:
    ByContainerImageName:
      - \"erlang:*\": {JIT: allow, Default: DENY}
      - \"plain:*\": KILL
    ByLabel:
      - jit=no: {JIT: deny, Default: SKIP}
",
    )
    .unwrap();
    assert!(warnings.is_empty());
    let named = |name| Subject { image_name: Some(name), ..Subject::default() };
    let labels: &[(&str, &str)] = &[("jit", "no")];
    for (subject, jit) in [
        (Subject::default(), Jit::Deny),
        (named("erlang:27"), Jit::Allow),
        (named("plain:1"), Jit::Deny),
        (Subject { labels, ..Subject::default() }, Jit::Deny),
    ] {
        assert_eq!(policy.jit(&subject), jit, "{subject:?}");
        let sent = policy.effective(&subject).to_json();
        assert_eq!(Effective::from_json(&sent).unwrap().jit(), jit, "{subject:?}");
    }
    let (policy, _) = Policy::parse("p", b"Actions: {}").unwrap();
    assert_eq!(policy.jit(&Subject::default()), Jit::Allow);
    // What an earlier release reads.
    let sent = policy.effective(&Subject::default()).to_json();
    assert!(!String::from_utf8(sent).unwrap().contains("jit"));
    for bad in [
        &b"JIT: maybe\nActions: {}"[..],
        b"Actions: {INVALID_HASH: {ByLabel: [{a: {JIT: deny, Default: DENY}}]}}",
    ] {
        assert!(Policy::parse("p", bad).is_err());
    }
}
