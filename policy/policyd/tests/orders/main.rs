//! Orders that would touch many containers: another policy, answers to reports. Over the real
//! server, TLS, and the reporter of the shims.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod fleet;
mod policies;
#[path = "../support/mod.rs"]
mod support;

use support::policy_text;

#[test]
fn what_a_later_release_wrote_is_found_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let later = r#"{"version":2,"verdict":"worse"}"#;
    std::fs::write(state.join("orders.json"), later).unwrap();
    std::fs::write(dir.path().join("policy.yaml"), policy_text("SKIP")).unwrap();
    let socket = format!("unix://{}", dir.path().join("policyd.sock").display());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lacre-policyd"));
    command.arg("--policy").arg(dir.path().join("policy.yaml")).arg("--state").arg(&state);
    let ended = command.args(["--listen", &socket]).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("orders.json"), "{ended:?}");
    let there = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(there.collect::<Vec<_>>(), ["orders.json"]);
    assert_eq!(std::fs::read_to_string(state.join("orders.json")).unwrap(), later);
}
