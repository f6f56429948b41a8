use super::*;
use crate::container::generation::Generation;
use lacre_policy::{Policy, Subject};
use lacre_types::Action;

fn effective(policy: &str) -> Effective {
    let (policy, _) = Policy::parse("p", policy.as_bytes()).unwrap();
    policy.effective(&Subject::default())
}

/// As where the runtime options named a configuration (`ConfigPath`), which nobody tells
/// a `delete` of.
#[test]
fn what_is_left_is_judged_by_the_rules_that_it_was_guarded_by() {
    let bundle = tempfile::tempdir().unwrap();
    let own = "mode: enforce\nrecords: /own/records\nrun: /own/run\nstate: /own/state\n";
    let own = Config::parse(own).unwrap();
    let generation = Generation::draw().unwrap();
    let head = Head::new(generation, "n", "c", bundle.path(), Path::new("/own/run/s/0a"));
    let mut charter = Charter::begin(head, Path::new("/c"), &own);
    let who = Identity::unknown("n", "c", "written down");
    let target = Target {
        container: "n/c".to_owned(),
        init_pid: 0,
        rootfs: "/root".into(),
        upper: Some("/upper".into()),
        lower: vec!["/lower".into()],
        mode: Mode::Enforce,
        block: Block::Exec,
        known: Arc::new(crate::guard::image_knowledge::LateImage::default()),
    };
    let policy = effective("Actions: {ENTRY_NOT_FOUND: {Default: PAUSE}}");
    charter.fill(Mode::Enforce, About::of(&who, &policy, &target, None));

    let node = Config::parse("mode: audit").unwrap();
    let mut left = Remains::of(&charter, &node, Path::new("/nonexistent"));
    assert_eq!(
        (&left.config.records, left.root.path.as_path()),
        (&own.records, Path::new("/root"))
    );
    let layers = left.root.layers.clone().unwrap();
    assert_eq!((layers.upper, layers.lower), (target.upper, target.lower));
    let who = left.who();
    assert_eq!(who.unknown_facts().unwrap(), "written down");
    let log = Logger::root(slog::Discard, slog::o!());
    let rules = left.rules(&who, &log);
    assert_eq!(rules.mode(), Mode::Enforce);
    let action = rules.policy().decide(ViolationKind::EntryNotFound, None).action;
    assert_eq!(action, Action::Pause);

    // Of one that another version wrote, the head is all; the node's rules hold.
    let other = Charter { body: None, ..charter };
    let left = Remains::of(&other, &node, Path::new("/nonexistent"));
    assert_eq!((left.config.records, left.mode), (node.records, None));
}
