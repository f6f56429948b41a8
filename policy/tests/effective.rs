//! What a server sends for one container answers as the whole policy would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use lacre_policy::{Effective, EffectiveError, Policy, Subject};
use lacre_types::{Action, CanonicalPath, Digest, Mode, Reports, ViolationKind};
use proptest::prelude::*;

fn word(words: Vec<&'static str>) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

fn action() -> impl Strategy<Value = &'static str> {
    word(vec!["SKIP", "DENY", "PAUSE", "ISOLATE", "STOP", "KILL", "RESTART", "REMOVE"])
}

/// A list of rules with keys out of a few, none twice.
fn list(keys: Vec<&'static str>, nested: bool) -> impl Strategy<Value = String> {
    let rules = prop::collection::btree_map(word(keys), (action(), any::<bool>(), paths()), 0..5);
    rules.prop_map(move |rules| {
        let mut text = String::from("[");
        for (key, (action, more, paths)) in rules {
            if nested && more {
                let _ = write!(text, "{{\"{key}\": {{Default: {action}, ByPath: {paths}}}}}, ");
            } else {
                let _ = write!(text, "{{\"{key}\": {action}}}, ");
            }
        }
        text + "]"
    })
}

const PATHS: [&str; 7] = ["/a", "/a/*", "/a/**", "**/b", "/[ab]/?", "/a/b", "/\\\\xff"];

fn paths() -> impl Strategy<Value = String> {
    prop::collection::btree_map(word(PATHS.to_vec()), action(), 0..4).prop_map(|rules| {
        let rules: Vec<String> =
            rules.iter().map(|(path, action)| format!("{{\"{path}\": {action}}}")).collect();
        format!("[{}]", rules.join(", "))
    })
}

const IDS: [&str; 4] = [
    "web",
    "0123456789ab",
    "0123456789abcd",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];
const DIGESTS: [&str; 2] = [
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
];

prop_compose! {
    fn kind()(
        ids in list(IDS.to_vec(), true),
        digests in list(DIGESTS.to_vec(), true),
        names in list(vec!["a", "a:*", "b/**", "**/c:1", "*"], true),
        labels in list(vec!["k=v", "k=*", "k", "l=v?"], true),
        annotations in list(vec!["k=v", "l"], true),
        namespaces in list(vec!["n", "n*"], true),
        paths in paths(),
        default in prop::option::of(action()),
    ) -> String {
        let mut text = format!(
            "{{ByContainerID: {ids}, ByContainerImageDigest: {digests}, \
             ByContainerImageName: {names}, ByLabel: {labels}, ByAnnotation: {annotations}, \
             ByNamespace: {namespaces}, ByPath: {paths}"
        );
        if let Some(default) = default {
            let _ = write!(text, ", Default: {default}");
        }
        text + "}"
    }
}

prop_compose! {
    fn file()(
        kinds in prop::collection::btree_map(prop::sample::select(ViolationKind::ALL), kind(), 0..4),
        mode in prop::option::of(prop::sample::select(Mode::ALL)),
        grace in 0..100_u32,
        deny in action().prop_filter("no circle", |action| *action != "DENY"),
    ) -> String {
        let mut text = format!("GracePeriod: {grace}ms\nFallback: {{DENY: {deny}}}\n");
        if let Some(mode) = mode {
            let _ = writeln!(text, "Mode: {mode}");
        }
        text.push_str("Restart: {Attempts: 3, MaxDelay: 1h}\nActions: {");
        for (kind, rules) in kinds {
            let _ = write!(text, "\n{kind}: {rules},");
        }
        text + "}\n"
    }
}

#[derive(Debug)]
struct Container {
    id: String,
    digests: Vec<Digest>,
    name: Option<&'static str>,
    namespaces: Vec<&'static str>,
    labels: Vec<(&'static str, &'static str)>,
    annotations: Vec<(&'static str, &'static str)>,
}

fn pairs() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::collection::vec((word(vec!["k", "l", "m"]), word(vec!["v", "vv", ""])), 0..3)
}

prop_compose! {
    fn container()(
        id in word(vec!["web", "other", IDS[3], "0123456789ab"]),
        digests in prop::collection::vec(word(vec![DIGESTS[0],
            "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"]), 0..2),
        name in prop::option::of(word(vec!["a", "a:2", "b/x/y", "r.example/c:1", "zz"])),
        namespaces in prop::collection::vec(word(vec!["n", "nn", "o"]), 0..2),
        labels in pairs(),
        annotations in pairs(),
    ) -> Container {
        let digests = digests.into_iter().map(|digest| digest.parse().unwrap()).collect();
        Container { id: id.to_owned(), digests, name, namespaces, labels, annotations }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_effective_policy_decides_as_the_whole_one(
        file in file(),
        container in container(),
        paths in prop::collection::vec("/[abc]{1,2}(/[abc]){0,2}", 1..4),
    ) {
        let (policy, warnings) = match Policy::parse("p.yaml", file.as_bytes()) {
            Ok(read) => read,
            Err(errors) => return Err(TestCaseError::fail(format!("{file}\n{errors}"))),
        };
        let _ = warnings;
        let subject = Subject {
            container_id: &container.id,
            image_digests: &container.digests,
            image_name: container.name,
            namespaces: &container.namespaces,
            labels: &container.labels,
            annotations: &container.annotations,
        };
        let effective = policy.effective(&subject);
        let bytes = effective.to_json();
        let sent = Effective::from_json(&bytes).unwrap();
        prop_assert_eq!(&sent, &effective);
        prop_assert_eq!(sent.to_json(), bytes);
        for node in Mode::ALL {
            prop_assert_eq!(sent.mode_on(*node), policy.mode_on(*node));
        }
        prop_assert_eq!(sent.restart(), policy.restart());
        prop_assert_eq!(sent.fallbacks(), policy.fallbacks());
        let mut paths: Vec<_> = paths.iter().map(|p| CanonicalPath::new(p).ok()).collect();
        paths.push(None);
        for kind in ViolationKind::ALL {
            for path in &paths {
                let decided = policy.decide(&subject, *kind, path.as_ref());
                prop_assert_eq!(&effective.decide(*kind, path.as_ref()), &decided);
                prop_assert_eq!(&sent.decide(*kind, path.as_ref()), &decided);
            }
        }
    }

    #[test]
    fn the_same_file_decides_the_same(file in file(), container in container()) {
        let subject = Subject { container_id: &container.id, ..Subject::default() };
        let decide = || {
            let (policy, _) = Policy::parse("p.yaml", file.as_bytes()).unwrap();
            ViolationKind::ALL.iter().map(|kind| policy.decide(&subject, *kind, None)).collect::<Vec<_>>()
        };
        prop_assert_eq!(decide(), decide());
    }
}

/// The first list that names the container holds, and is not added to.
#[test]
fn code_directories_are_chosen_as_actions_are() {
    let file = format!(
        "CodeDirectories:\n  ByContainerID: [{{web: [/id]}}]\n  ByContainerImageDigest: [{{\"{0}\": \
         [/digest]}}]\n  ByContainerImageName: [{{\"a:*\": [/name]}}, {{none: []}}]\n  ByLabel: \
         [{{k=v: [/label]}}]\n  ByAnnotation: [{{k: [/annotation]}}]\n  ByNamespace: [{{n: \
         [/namespace]}}]\n  Default: [/rest, \"**/code\"]\nReport: none\nActions: {{}}\n",
        DIGESTS[0]
    );
    let (policy, warnings) = Policy::parse("p.yaml", file.as_bytes()).unwrap();
    assert!(warnings.is_empty() && policy.rules() == 7);
    let digests = [DIGESTS[0].parse().unwrap()];
    let of = |subject: Subject<'_>| {
        let effective = policy.effective(&subject);
        let sent = Effective::from_json(&effective.to_json()).unwrap();
        assert_eq!(sent, effective);
        assert_eq!(sent.reports(), Reports::None);
        let directories = sent.code_directories();
        assert_eq!(directories, policy.code_directories(&subject));
        directories.patterns().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let mut subject = Subject {
        container_id: "web",
        image_digests: &digests,
        image_name: Some("a:7"),
        namespaces: &["n"],
        labels: &[("k", "v")],
        annotations: &[("k", "x")],
    };
    assert_eq!(of(subject), "/id");
    subject.container_id = "other";
    assert_eq!(of(subject), "/digest");
    subject.image_digests = &[];
    assert_eq!(of(subject), "/name");
    assert_eq!(of(Subject { image_name: Some("none"), ..subject }), "");
    subject.image_name = None;
    assert_eq!(of(subject), "/label");
    subject.labels = &[];
    assert_eq!(of(subject), "/annotation");
    subject.annotations = &[];
    assert_eq!(of(subject), "/namespace");
    subject.namespaces = &[];
    assert_eq!(of(subject), "/rest **/code");
}

/// Servers and nodes are not of one release all the time.
#[test]
fn what_an_earlier_release_does_not_know_is_not_sent_unless_it_is_said() {
    let of = |file: &str| {
        let (policy, _) = Policy::parse("p.yaml", file.as_bytes()).unwrap();
        String::from_utf8(policy.effective(&Subject::default()).to_json()).unwrap()
    };
    let plain = of("Actions: {}");
    for word in ["REPORT", "reports", "codeDirectories"] {
        assert!(!plain.contains(word), "{plain}");
    }
    let read = Effective::from_json(plain.as_bytes()).unwrap();
    assert_eq!(read.decide(ViolationKind::Report, None).action, Action::Skip);
    let said = of("Actions: {REPORT: {Default: DENY}}");
    let read = Effective::from_json(said.as_bytes()).unwrap();
    assert_eq!(read.decide(ViolationKind::Report, None).action, Action::Deny);
    let many = (0..200).map(|n| format!("\"/{n}\"")).collect::<Vec<_>>().join(",");
    let many = plain.replacen('{', &format!("{{\"codeDirectories\":[{many}],"), 1);
    assert!(matches!(Effective::from_json(many.as_bytes()), Err(EffectiveError::Json(_))));
}

fn changed(from: &str, to: &str) -> Result<Effective, EffectiveError> {
    let file = b"Actions: {FILELESS: {ByPath: [{/a/*: SKIP}], Default: STOP}}";
    let (policy, _) = Policy::parse("p.yaml", file).unwrap();
    let text = String::from_utf8(policy.effective(&Subject::default()).to_json()).unwrap();
    assert!(text.contains(from), "{text}");
    Effective::from_json(text.replacen(from, to, 1).as_bytes())
}

#[test]
fn what_is_not_whole_is_refused() {
    use EffectiveError::{Endless, Json, Missing, Pattern, TooLarge, Version};
    assert!(matches!(changed("\"version\":1", "\"version\":2"), Err(Version(2))));
    assert!(matches!(changed("\"version\":1", "\"version\":1,\"x\":2"), Err(Json(_))));
    assert!(matches!(changed("STOP", "STOPP"), Err(Json(_))));
    assert!(matches!(changed("/a/*", "/a**"), Err(Pattern { .. })));
    assert!(matches!(changed("\"FILELESS\"", "\"NO_WHITELIST\""), Err(Json(_))));
    let skip = "{\"kind\":\"INVALID_HASH\",\"action\":\"DENY\",\"line\":0},";
    assert!(matches!(changed(skip, ""), Err(Missing(ViolationKind::InvalidHash))));
    assert!(matches!(changed("[\"DENY\",\"KILL\"]", "[\"DENY\",\"DENY\"]"), Err(Endless(_))));
    let large = vec![b' '; Effective::MAX_BYTES + 1];
    assert!(matches!(Effective::from_json(&large), Err(TooLarge(_))));
}

#[test]
fn the_largest_file_gives_an_effective_policy_that_can_be_sent() {
    let mut file = String::from("Actions:\n FILELESS:\n  ByPath:\n");
    let mut n = 0;
    while file.len() < (1 << 20) - 40 {
        let _ = writeln!(file, "  - /{n}: SKIP");
        n += 1;
    }
    let (policy, _) = Policy::parse("p.yaml", file.as_bytes()).unwrap();
    assert_eq!(policy.rules(), n);
    let bytes = policy.effective(&Subject::default()).to_json();
    let sent = Effective::from_json(&bytes).unwrap();
    let path = CanonicalPath::new(format!("/{}", n - 1)).unwrap();
    assert_eq!(sent.decide(ViolationKind::Fileless, Some(&path)).action, Action::Skip);
}
