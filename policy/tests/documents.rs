//! The schema and the page that are handed out are those of this code.

use std::path::{Path, PathBuf};

use lacre_policy::{Policy, Severity, Subject, schema};
use lacre_types::{Action, CanonicalPath, ViolationKind};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

#[test]
fn the_committed_schema_is_current() {
    let path = docs("reference/policy.schema.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed != schema() {
        let fresh = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("policy.schema.json");
        std::fs::write(&fresh, schema()).unwrap();
        panic!("{} is old; `lacre policy schema` writes it anew", path.display());
    }
}

#[test]
fn the_example_of_the_page_loads_without_a_warning_and_decides_as_it_says() {
    let page = std::fs::read_to_string(docs("policy.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let (policy, warnings) =
        Policy::parse("policy.md", example.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{}", warnings[0]);

    let decide = |subject: Subject<'_>, path: &str| {
        let path = CanonicalPath::new(path).unwrap();
        policy.decide(&subject, ViolationKind::EntryNotFound, Some(&path)).action
    };
    let named = |name| Subject { image_name: Some(name), ..Subject::default() };
    assert_eq!(decide(named("nginx"), "/x"), Action::Skip);
    assert_eq!(decide(named("registry.example/team/app:7"), "/x"), Action::Pause);
    assert_eq!(decide(named("builder"), "/build/a.out"), Action::Skip);
    assert_eq!(decide(named("builder"), "/data/a.out"), Action::Stop);
    let staging = Subject { labels: &[("env", "test-4")], ..named("app") };
    assert_eq!(decide(staging, "/x"), Action::Skip);
    assert_eq!(decide(named("app"), "/data/x"), Action::Skip);
    assert_eq!(decide(named("app"), "/a/__pycache__/m.pyc"), Action::Skip);
    assert_eq!(decide(named("app"), "/x"), Action::Deny);
    assert_eq!(policy.restart().attempts, Some(8));
}

#[test]
fn the_page_names_every_key_kind_and_action() {
    let page = std::fs::read_to_string(docs("policy.md")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    for keys in [&schema["properties"], &schema["$defs"]["kind"]["properties"]] {
        for key in keys.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{key}`")), "{key}");
        }
    }
    let kinds = ViolationKind::ALL.iter().map(|kind| kind.as_str());
    for word in kinds.chain(Action::ALL.iter().map(|action| action.as_str())) {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
    assert_eq!(serde_json::to_string(&Severity::Error).unwrap(), "\"error\"");
}
