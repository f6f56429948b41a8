//! Code without a file under containerd, with no policy and with one. Memory that a program of
//! the image makes executable is nobody's violation unless the policy says `JIT: deny`; a
//! program in memory is one. What must not run is ended, and the container goes on.

#![cfg(target_arch = "x86_64")]

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lacre_integration::guarded_script::GuardedScript;
use lacre_integration::image::{Image, Layer};
use lacre_integration::images::debian_image;
use lacre_integration::paths::repository;
use serde_json::Value;

/// What engines and libraries do, by mechanism (`measure/tests/programs/memory.c`).
const ENGINES: [&str; 10] = [
    "private",
    "moved",
    "collapsed",
    "stack",
    "zero",
    "memfd",
    "forked",
    "sysv",
    "tmpfile",
    "unlinked",
];

/// Programs that have no file, and files without a name that did not come with the image.
const PROGRAMS: [&str; 4] = ["exec-memfd", "exec-mapped", "exec-tmpfile", "exec-unlinked"];

fn image() -> Result<Image> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("j");
    let source = repository().join("measure/tests/programs/memory.c");
    let built = Command::new("clang").arg("-O1").arg(source).arg("-o").arg(&program).status();
    ensure!(built.context("clang")?.success(), "building the engine");
    let layer = Layer::new().dir("opt", 0o755).file("opt/j", 0o755, std::fs::read(&program)?).file(
        "opt/core",
        0o644,
        [&[0xb8, 42, 0, 0, 0, 0xc3][..], &[0; 4096]].concat(),
    );
    Ok(debian_image()?.named("lacre.test/memory:1").layer(layer))
}

fn run(lacre: &str, policy: Option<&str>, script: &str) -> Result<GuardedScript> {
    GuardedScript::run(lacre, policy, &image()?, &[], script)
}

/// Each of them once, and how it ended.
fn each(all: &[&str]) -> String {
    let all = all.join(" ");
    format!(
        "for how in {all}; do /opt/j $how mark /tmp/m 2>/dev/null; echo $how $?; rm -f /tmp/x; \
         done; test -e /tmp/m && echo ran; echo end"
    )
}

fn lives(said: &[String], all: &[&str]) {
    let want: Vec<_> = all.iter().map(|how| format!("{how} 0")).chain(["end".to_owned()]).collect();
    assert_eq!(said, want);
}

const MODES: [&str; 3] = ["mode: enforce\n", "mode: enforce\nblock: all\n", "mode: audit\n"];

#[test]
fn engines_live_by_default_and_leave_no_record() -> Result<()> {
    for mode in MODES {
        let all = [&ENGINES[..], &["nx", "nxfile", "data /opt/core"]].concat();
        let script = all.iter().map(|how| format!("/opt/j {how}; echo {how} $?; "));
        let script = script.collect::<String>() + "echo end";
        let GuardedScript { said, records } = run(mode, None, &script)?;
        lives(&said, &all);
        assert_eq!(records, [Value::Null; 0], "{mode}");
    }
    Ok(())
}

#[test]
fn the_images_own_runs_again_after_its_name_went() -> Result<()> {
    for mode in MODES {
        let script = "/opt/j again /opt/j; echo $?; test -e /tmp/again && echo again";
        let GuardedScript { said, records } = run(mode, None, script)?;
        assert_eq!(said, ["0", "again"], "{mode}");
        assert_eq!(records, [Value::Null; 0], "{mode}");
    }
    Ok(())
}

#[test]
fn what_has_no_file_or_no_name_and_did_not_come_with_the_image_does_not_run() -> Result<()> {
    for mode in &MODES[..2] {
        let GuardedScript { said, records } = run(mode, None, &each(&PROGRAMS))?;
        assert_eq!(said.last().map(String::as_str), Some("end"), "the container goes on: {said:?}");
        assert!(!said.contains(&"ran".to_owned()), "{mode}: {said:?}");
        for (how, kind) in [
            ("exec-memfd", "FILELESS"),
            ("exec-mapped", "FILELESS"),
            ("exec-tmpfile", "ENTRY_NOT_FOUND"),
            ("exec-unlinked", "ENTRY_NOT_FOUND"),
        ] {
            let of = records.iter().find(|record| record["notificate"] == kind);
            let of = of.with_context(|| format!("{mode}{how}: {records:?}"))?;
            assert_ne!(of["outcome"], "ran", "{mode}{how}: {of}");
        }
        let fileless = |record: &&Value| record["notificate"] == "FILELESS";
        assert!(records.iter().filter(fileless).all(|record| record["path"].is_null()));
    }
    Ok(())
}

#[test]
fn engines_die_where_the_policy_denies_them_and_the_container_goes_on() -> Result<()> {
    let denied = ["private", "memfd", "forked", "sysv", "tmpfile"];
    for mode in &MODES[..2] {
        let script = denied.map(|how| format!("/opt/j {how} & wait $!; echo {how} $?; ")).concat();
        let GuardedScript { said, records } =
            run(mode, Some("JIT: deny\nActions: {}\n"), &(script + "echo end"))?;
        assert_eq!(said.last().map(String::as_str), Some("end"), "{mode}: {said:?}");
        for how in &denied[1..] {
            assert!(said.contains(&format!("{how} 137")), "{mode}: {said:?}");
        }
        assert!(records.iter().any(|record| record["outcome"] == "killed"), "{records:?}");
        let is_violation = |record: &&Value| record["record"].is_null();
        assert!(!records.iter().any(|record| record["record"] == "outcome"), "{records:?}");
        // A file without a name that nobody writes to any more, when it is looked at, is a file.
        let is_file = |record: &&Value| {
            record["path"].as_str().is_some_and(|path| path.starts_with("/tmp/#"))
        };
        for record in records.iter().filter(is_violation).filter(|record| !is_file(record)) {
            assert_eq!(record["notificate"], "FILELESS", "{record}");
            // Of one that has ended nobody can tell.
            assert!(record["path"] == "/opt/j" || record["path"].is_null(), "{record}");
        }
    }
    Ok(())
}

#[test]
fn a_rule_that_says_skip_is_obeyed_by_what_kills() -> Result<()> {
    let policies = [
        "JIT: deny\nActions: {FILELESS: {Default: SKIP}}\n",
        "JIT: deny\nActions: {FILELESS: {ByContainerImageName: \
         [{\"lacre.test/*:*\": {JIT: allow, Default: SKIP}}], Default: KILL}}\n",
    ];
    for policy in policies {
        let all = ["memfd", "forked", "exec-memfd"];
        let GuardedScript { said, records } = run("mode: enforce\n", Some(policy), &each(&all))?;
        assert_eq!(said, ["memfd 0", "forked 0", "exec-memfd 0", "ran", "end"], "{policy}");
        for record in &records {
            assert_eq!((&record["action"], &record["outcome"]), (&"SKIP".into(), &"ran".into()));
        }
        assert!(records.iter().any(|record| record["notificate"] == "FILELESS"), "{records:?}");
    }
    Ok(())
}
