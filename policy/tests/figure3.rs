//! Sarmento 2023, figure 3, loads as printed and decides as he says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lacre_policy::{Policy, Subject};
use lacre_types::{Action, Digest, ViolationKind};

const FIGURE_3: &[u8] = include_bytes!("fixtures/sarmento-figure3.yaml");

const STOPPED: &str = "152dc042452c496007f07ca9127571cb9c29697f42acbfad72324b2bb2e43c98";
const RESTARTED: &str = "sha256:db8bf6f4fb351aa7a26e27ba2686cf35a6a409f65603e59d4c203e58387dc6b3";

fn figure_3() -> Policy {
    Policy::parse("figure3.yaml", FIGURE_3).unwrap().0
}

fn action(subject: Subject<'_>, kind: ViolationKind) -> (Action, Option<u32>) {
    let decision = figure_3().decide(&subject, kind, None);
    (decision.action, decision.rule.line())
}

#[test]
fn it_loads_with_one_warning_for_the_digest_of_63_digits() {
    let (policy, warnings) = Policy::parse("figure3.yaml", FIGURE_3).unwrap();
    assert_eq!(policy.port(), Some(50051));
    assert_eq!(policy.rules(), 8);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!((warning.line, warning.column), (7, 9));
    assert!(warning.message.contains("has 64 hex digits, this has 63"), "{warning}");
}

#[test]
fn an_id_goes_before_a_digest_before_a_name_before_the_default() {
    use ViolationKind::EntryNotFound;
    let digest: [Digest; 1] = [RESTARTED.parse().unwrap()];
    let all = Subject {
        container_id: STOPPED,
        image_digests: &digest,
        image_name: Some("nginx"),
        ..Subject::default()
    };
    assert_eq!(action(all, EntryNotFound), (Action::Stop, Some(4)));
    let other = Subject { container_id: "other", ..all };
    assert_eq!(action(other, EntryNotFound), (Action::Restart, Some(8)));
    let name = Subject { image_digests: &[], ..other };
    assert_eq!(action(name, EntryNotFound), (Action::Skip, Some(10)));
    let none = Subject { image_name: Some("nginx:1.25"), ..name };
    assert_eq!(action(none, EntryNotFound), (Action::Delete, Some(11)));
}

#[test]
fn each_kind_has_its_own_rules() {
    let of = |image_name| Subject { image_name: Some(image_name), ..Subject::default() };
    assert_eq!(action(of("ubuntu:16.04"), ViolationKind::InvalidHash), (Action::Skip, Some(18)));
    assert_eq!(action(of("nginx:latest"), ViolationKind::InvalidHash), (Action::Restart, Some(19)));
    assert_eq!(action(of("nginx:latest"), ViolationKind::NoWhitelist), (Action::Stop, Some(22)));
}

#[test]
fn kinds_that_figure_3_does_not_have_have_the_built_in_rule() {
    for kind in ["FILELESS", "CODE_MODIFIED", "LOG_TAMPERED", "SOURCE_LOST", "REPORT"] {
        let (action, fallback) = match kind {
            "LOG_TAMPERED" => (Action::Pause, None),
            "REPORT" => (Action::Skip, None),
            _ => (Action::Deny, Some(Action::Kill)),
        };
        let kind = kind.parse().unwrap();
        let decision = figure_3().default_of(kind);
        assert_eq!((decision.action, decision.rule.line()), (action, None));
        assert_eq!(decision.fallback, fallback);
        assert!(decision.rule.to_string().contains("built in"));
    }
}
