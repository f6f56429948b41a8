//! `lacre baseline` as a person and a script meet it.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn lacre(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lacre"));
    command.arg("baseline").args(args).current_dir(dir).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn tree() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("fs/bin")).unwrap();
    fs::write(temp.path().join("fs/bin/a.sh"), "#!/bin/sh\n").unwrap();
    fs::write(temp.path().join("fs/bin/b.py"), "").unwrap();
    fs::write(temp.path().join("fs/data"), "").unwrap();
    std::os::unix::fs::symlink("a.sh", temp.path().join("fs/bin/sh")).unwrap();
    temp
}

#[test]
fn generate_show_verify_diff() {
    let temp = tree();
    let dir = temp.path();
    let made = lacre(&["generate", "--rootfs", "fs", "-o", "one.baseline"], dir);
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    assert!(out(&made).contains("files       2"), "{}", out(&made));
    assert_eq!(err(&made), "", "no progress where nobody watches");

    let shown = lacre(&["show", "one.baseline"], dir);
    assert!(out(&shown).lines().any(|line| line.contains("script") && line.ends_with("/bin/a.sh")));
    let shown = lacre(&["show", "--json", "one.baseline"], dir);
    let json: serde_json::Value = serde_json::from_str(&out(&shown)).unwrap();
    assert_eq!(json["files"][0]["path"], "/bin/a.sh");
    assert_eq!(json["files"][0]["kind"], "script");
    assert_eq!(json["links"][0], serde_json::json!({"path": "/bin/sh", "target": "a.sh"}));

    let same = lacre(&["verify", "one.baseline", "--rootfs", "fs"], dir);
    assert_eq!((same.status.code(), out(&same)), (Some(0), String::new()));
    fs::write(dir.join("fs/bin/a.sh"), "#!/bin/sh\nevil\n").unwrap();
    fs::write(dir.join("fs/bin/new.sh"), "").unwrap();
    fs::remove_file(dir.join("fs/bin/b.py")).unwrap();
    let differs = lacre(&["verify", "one.baseline", "--rootfs", "fs"], dir);
    assert_eq!(differs.status.code(), Some(1));
    let text = out(&differs);
    for expected in [("changed", "/bin/a.sh"), ("added", "/bin/new.sh"), ("removed", "/bin/b.py")] {
        let found = |line: &str| line.contains(expected.0) && line.contains(expected.1);
        assert!(text.lines().any(found), "{expected:?}: {text}");
    }
    let args = ["generate", "--rootfs", "fs", "-o", "two.baseline", "--json", "--algorithms=sha1"];
    let made = lacre(&args, dir);
    let json: serde_json::Value = serde_json::from_str(&out(&made)).unwrap();
    assert_eq!(json["algorithms"], serde_json::json!(["sha256", "sha1"]));
    let diff = lacre(&["diff", "one.baseline", "two.baseline", "--json"], dir);
    assert_eq!(diff.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_str(&out(&diff)).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    let diff = lacre(&["diff", "two.baseline", "two.baseline"], dir);
    assert_eq!(diff.status.code(), Some(0));
}

#[test]
fn standard_output_is_the_file() {
    let temp = tree();
    let made = lacre(&["generate", "--rootfs", "fs", "-o", "one.baseline"], temp.path());
    assert_eq!(made.status.code(), Some(0));
    let piped = lacre(&["generate", "--rootfs", "fs"], temp.path());
    assert_eq!(piped.stdout, fs::read(temp.path().join("one.baseline")).unwrap());
}

#[test]
fn wrong_usage_is_64_and_what_cannot_be_found_out_is_2() {
    let temp = tree();
    let dir = temp.path();
    for args in [
        &["generate"][..],
        &["generate", "--rootfs", "fs", "--oci", "fs"],
        &["generate", "--rootfs", "fs", "--algorithms", "md5"],
        &["generate", "--oci", "fs", "--platform", "linux"],
        &["show"],
        &["frobnicate"],
    ] {
        assert_eq!(lacre(args, dir).status.code(), Some(64), "{args:?}");
    }
    fs::write(dir.join("bad"), "not a baseline").unwrap();
    let cases = [
        (&["show", "bad"][..], "generate it again"),
        (&["show", "absent"], "cannot open absent"),
        (&["generate", "--rootfs", "absent", "-o", "x"], "cannot open the directory absent"),
        (&["generate", "--oci", "fs", "-o", "x"], "has neither an index.json"),
    ];
    for (args, expected) in cases {
        let output = lacre(args, dir);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains(expected), "{args:?}: {}", err(&output));
        assert_eq!(out(&output), "");
    }
    assert!(!dir.join("x").exists(), "nothing is left of what failed");
}

#[test]
fn a_damaged_baseline_is_not_compared() {
    let temp = tree();
    let dir = temp.path();
    lacre(&["generate", "--rootfs", "fs", "-o", "one.baseline"], dir);
    let mut bytes = fs::read(dir.join("one.baseline")).unwrap();
    bytes[150] ^= 1;
    fs::write(dir.join("one.baseline"), bytes).unwrap();
    let output = lacre(&["verify", "one.baseline", "--rootfs", "fs"], dir);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("checksum of its body"), "{}", err(&output));
}

#[test]
fn a_limit_names_the_option_that_raises_it() {
    let temp = tree();
    let generate = |entries: &str| {
        let args = ["generate", "--rootfs", "fs", "-o", "b", "--max-entries", entries];
        lacre(&args, temp.path())
    };
    let refused = generate("3");
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("higher --max-entries"), "{}", err(&refused));
    let made = generate("5");
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    let help = out(&lacre(&["generate", "--help"], temp.path()));
    for option in ["--max-ratio", "--max-layer-bytes", "--max-entries"] {
        assert!(help.contains(option), "{option}");
    }
}
