//! What the schema refuses, the reader refuses; what both know by structure, both take.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod validate;

use lacre_policy::Policy;
use proptest::prelude::*;
use serde_json::{Value, json};
use validate::valid;

fn schema() -> Value {
    serde_json::from_str(&lacre_policy::schema()).unwrap()
}

/// JSON is YAML too, so one text serves both.
fn read(file: &Value) -> Result<(), String> {
    Policy::parse("p.yaml", file.to_string().as_bytes()).map(drop).map_err(|e| e.to_string())
}

#[test]
fn a_whole_file_is_taken_and_each_slip_is_refused_by_both() {
    let schema = schema();
    let good = json!({
        "Mode": "audit", "JIT": "deny", "Report": "none", "GracePeriod": "5s", "PORT": "50051", "Fallback": {"DENY": "PAUSE"},
        "Restart": {"Delay": "1s", "Attempts": 3},
        "CodeDirectories": {
            "ByContainerImageName": [{"web:*": ["/srv/app", "**/plugins"]}, {"data": []}],
            "Default": ["/opt/code/"],
        },
        "Actions": {"FILELESS": {
            "ByContainerID": [{"web": "REMOVE"}],
            "ByLabel": [{"a=b": {
                "ByPath": [{"/x": "SKIP"}], "JIT": "allow", "Default": "STOP",
            }}],
            "Default": "STOP",
        }},
    });
    assert_eq!(read(&good), Ok(()));
    assert!(valid(&schema, &schema, &good));
    let slips: [(&str, Value); 27] = [
        ("/JIT", json!("DENY")),
        ("/Report", json!("off")),
        ("/CodeDirectories", json!(["/srv/app"])),
        ("/CodeDirectories", json!({"ByPath": [{"/x": ["/srv/app"]}]})),
        ("/CodeDirectories/Default", json!("/srv/app")),
        ("/CodeDirectories/Default/0", json!("srv/app")),
        ("/CodeDirectories/Default/0", json!({"/srv/app": "DENY"})),
        ("/CodeDirectories/ByContainerImageName", json!({"web": ["/srv"]})),
        ("/CodeDirectories/ByContainerImageName/0", json!({"web": "DENY"})),
        ("/Actions/FILELESS/ByLabel/0/a=b/JIT", json!(false)),
        ("/Actions/FILELESS", json!({"JIT": "deny"})),
        ("", json!([])),
        ("/Mode", json!("strict")),
        ("/GracePeriod", json!(5)),
        ("/GracePeriod", json!("5 seconds")),
        ("/PORT", json!(0)),
        ("/PORT", json!(65536)),
        ("/Fallback", json!({"KILL": "STOP"})),
        ("/Restart/Attempts", json!(0)),
        ("/Restart/Delay", json!(["1s"])),
        ("/Actions", json!(null)),
        ("/Actions/FILELESS", json!({"ByName": []})),
        ("/Actions/FILELESS/Default", json!("stop")),
        ("/Actions/FILELESS/ByContainerID", json!({"web": "STOP"})),
        ("/Actions/FILELESS/ByContainerID", json!([{"a": "STOP", "b": "STOP"}])),
        ("/Actions/FILELESS/ByLabel/0/a=b", json!({"ByPath": []})),
        ("/Actions/FILELESS/ByLabel/0/a=b/ByPath", json!([{"/x": {"Default": "STOP"}}])),
    ];
    for (at, slip) in slips {
        let mut bad = good.clone();
        *bad.pointer_mut(at).unwrap() = slip.clone();
        assert!(!valid(&schema, &schema, &bad), "the schema takes {slip} at {at}");
        assert!(read(&bad).is_err(), "the reader takes {slip} at {at}");
    }
}

fn leaf() -> BoxedStrategy<Value> {
    prop_oneof![
        6 => prop::sample::select(vec!["STOP", "SKIP", "REMOVE", "DENY"]).prop_map(Value::from),
        1 => prop::sample::select(vec!["stop", "5s", "audit", ""]).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!([])),
        1 => (0..3).prop_map(Value::from),
    ]
    .boxed()
}

fn entries(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let keys = prop::sample::select(vec!["/a", "/b/**", "/c*"]);
    let entry = prop::collection::btree_map(keys, value, 0..3);
    let list = prop::collection::vec(entry.prop_map(|map| json!(map)), 0..3);
    prop_oneof![8 => list.prop_map(Value::from), 1 => leaf()].boxed()
}

fn rule() -> BoxedStrategy<Value> {
    prop_oneof![
        3 => leaf(),
        2 => (entries(leaf()), prop::option::weighted(0.8, leaf())).prop_map(|(paths, default)| {
            let mut rule = json!({"ByPath": paths});
            if let Some(default) = default {
                rule["Default"] = default;
            }
            rule
        }),
    ]
    .boxed()
}

prop_compose! {
    fn file()(
        selector in prop::sample::select(vec!["ByContainerID", "ByLabel", "ByNamespace", "ByFoo"]),
        kind in prop::sample::select(vec!["FILELESS", "NO_WHITELIST", "NONE"]),
        rules in entries(rule()),
        paths in entries(leaf()),
        default in leaf(),
    ) -> Value {
        json!({"Actions": {kind: {selector: rules, "ByPath": paths, "Default": default}}})
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn what_the_schema_refuses_the_reader_refuses(file in file()) {
        let schema = schema();
        match read(&file) {
            Ok(()) => prop_assert!(valid(&schema, &schema, &file), "{}", file),
            Err(errors) => {
                // Beyond structure, the reader refuses a key that has a rule already.
                if !errors.contains("has a rule for the same") {
                    prop_assert!(!valid(&schema, &schema, &file), "{}\n{}", file, errors);
                }
            }
        }
    }
}
