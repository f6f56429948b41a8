//! Which fact, by which witness, moves which rule: every pair of them.

use lacre_policy::{Fact, Facts, Policy, Selector, Use, Witness};
use lacre_types::{Action, Digest, ViolationKind};

const DIGEST: [u8; 32] = [0xab; 32];

/// One rule for each selector that chooses by the container, and nothing else that is KILL.
fn policy(selector: Selector, action: &str) -> Policy {
    let key = match selector {
        Selector::ContainerId => "web-1".to_owned(),
        Selector::ImageDigest => "ab".repeat(32),
        Selector::ImageName => "app:1".to_owned(),
        Selector::Label | Selector::Annotation => "tier=db".to_owned(),
        Selector::Namespace => "prod".to_owned(),
        Selector::Path => "/x".to_owned(),
    };
    let text = format!(
        "Actions: {{ENTRY_NOT_FOUND: {{{selector}: [{{\"{key}\": {action}}}], Default: STOP}}}}"
    );
    Policy::parse("policy.yaml", text.as_bytes()).unwrap_or_else(|error| panic!("{error}")).0
}

/// All that a rule could match, said by one witness.
fn facts(said_by: Witness) -> Facts {
    let say = |text: &str| Fact::new(text.to_owned(), said_by);
    Facts {
        container_id: say("web-1"),
        image_digests: vec![Fact::new(Digest::sha256(DIGEST), said_by)],
        image_name: Some(say("docker.io/library/app:1")),
        namespace: say("prod"),
        pod_namespace: Some(say("prod")),
        labels: [("tier".to_owned(), say("db"))].into(),
        annotations: [("tier".to_owned(), say("db"))].into(),
    }
}

#[test]
fn a_rule_takes_a_fact_from_its_least_witness_on_and_from_none_below() {
    for selector in Selector::ALL.iter().filter(|selector| **selector != Selector::Path) {
        // What loosens and what tightens.
        for (action, done) in [("SKIP", Action::Skip), ("KILL", Action::Kill)] {
            let policy = policy(*selector, action);
            for witness in Witness::ALL {
                let effective = facts(*witness).effective(&policy);
                let decided = effective.decide(ViolationKind::EntryNotFound, None).action;
                let expected =
                    if *witness >= Use::Rule(*selector).needs() { done } else { Action::Stop };
                assert_eq!(decided, expected, "{selector}, {witness}, {action}");
            }
        }
    }
}

#[test]
fn nothing_that_can_loosen_takes_the_image_authors_word() {
    for of in Use::ALL {
        let taken = Fact::new((), Witness::Image).for_use(*of).is_some();
        assert_eq!(taken, *of == Use::Mode, "{of:?}");
    }
    assert_eq!(Witness::default(), Witness::Image, "who is not known is trusted least");
}

#[test]
fn of_two_who_speak_the_better_witness_is_heard() {
    for (first, second) in [(Witness::Image, Witness::User), (Witness::User, Witness::Image)] {
        let mut labels = Default::default();
        Facts::say(&mut labels, "tier", Fact::new(first.to_string(), first));
        Facts::say(&mut labels, "tier", Fact::new(second.to_string(), second));
        assert_eq!(labels["tier"], Fact::new("user".to_owned(), Witness::User));
    }
}

#[test]
fn facts_survive_the_disk() {
    for witness in Witness::ALL {
        let known = facts(*witness);
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), known);
    }
}

/// The table of the manual: each use, and from which witness on it takes a fact.
#[test]
fn the_manual_has_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md");
    let manual = std::fs::read_to_string(path).unwrap();
    let section = manual.split_once("## Who said it").unwrap().1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let yes_no = |of: Use, witness: Witness| if witness >= of.needs() { "yes" } else { "no" };
    let mut table = String::from("| used by |");
    for witness in Witness::ALL {
        table += &format!(" {witness} |");
    }
    table += &format!("\n|---|{}", "---|".repeat(Witness::ALL.len()));
    for of in Use::ALL {
        table += &format!("\n| `{}` |", of.as_str());
        for witness in Witness::ALL {
            table += &format!(" {} |", yes_no(*of, *witness));
        }
    }
    assert!(section.contains(&table), "docs/policy.md, \"Who said it\", lacks this:\n{table}");
}
