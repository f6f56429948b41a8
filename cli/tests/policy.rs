//! `lacre policy` as it ends: whether the file is good, is refused, or could not be read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::process::{Command, Output};

fn lacre(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lacre")).arg("policy").args(args).output().unwrap()
}

#[test]
fn what_could_not_be_found_out_is_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.yaml", "Actions: {}\n");
    let bad = file("bad.yaml", "Actions: {FILELESS: {Default: STOPP}}\n");
    let absent = dir.path().join("absent.yaml").to_str().unwrap().to_owned();
    for (name, status) in [(&good, 0), (&bad, 1), (&absent, 2)] {
        for args in [&["check", name][..], &["check", "--json", name]] {
            assert_eq!(lacre(args).status.code(), Some(status), "{args:?}");
        }
        let explained = lacre(&["explain", "--kind", "FILELESS", name]);
        assert_eq!(explained.status.code(), Some(status), "{explained:?}");
    }
    let told = lacre(&["check", &absent]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.starts_with("lacre: cannot read the policy /"), "{told}");
}

/// Each is told of, and the worst is the answer.
#[test]
fn several_files_are_checked_and_standard_input_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.yaml");
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&good, "Actions: {}\n").unwrap();
    std::fs::write(&bad, "Actions: {FILELESS: {Default: STOPP}}\n").unwrap();
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());

    let told = lacre(&["check", bad, good]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let (out, err) =
        (String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert!(out.contains("good.yaml: good") && err.contains("bad.yaml:1:31"), "{out}{err}");

    let told = lacre(&["check", "/nonexistent", bad, good]);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    assert!(String::from_utf8(told.stdout).unwrap().contains("good.yaml: good"));

    let told = lacre(&["check", "--json", bad, good]);
    let told: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&told.stdout)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let ok: Vec<_> = told.iter().map(|one| (one["file"].as_str(), one["ok"].as_bool())).collect();
    assert_eq!(ok, [(Some(bad), Some(false)), (Some(good), Some(true))]);

    for args in [&["check", "-"][..], &["explain", "-", "--kind", "FILELESS"]] {
        let mut lacre = Command::new(env!("CARGO_BIN_EXE_lacre"));
        let told = lacre.arg("policy").args(args).stdin(std::fs::File::open(bad).unwrap());
        let told = told.output().unwrap();
        assert_eq!(told.status.code(), Some(1), "{told:?}");
        let err = String::from_utf8(told.stderr).unwrap();
        assert!(err.contains("standard input:1:31: error"), "{err}");
    }
}

#[test]
fn an_answer_that_could_not_be_written_is_none() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut schema = Command::new(env!("CARGO_BIN_EXE_lacre"));
    let schema = schema.args(["policy", "schema"]).stdout(full).output().unwrap();
    assert_eq!(schema.status.code(), Some(2), "{schema:?}");
}

/// As `lacre policy check FILE | true`.
#[test]
fn a_refusal_is_one_for_who_does_not_read_it_too() {
    let dir = tempfile::tempdir().unwrap();
    for (text, status) in [("Actions: {}\n", 0), ("Actions: {FILELESS: {Default: STOPP}}\n", 1)] {
        let file = dir.path().join("policy.yaml");
        std::fs::write(&file, text).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut check = Command::new(env!("CARGO_BIN_EXE_lacre"));
        let check = check.args(["policy", "check", "--json"]).arg(&file).stdout(writer);
        assert_eq!(check.output().unwrap().status.code(), Some(status), "{text}");
    }
}
