//! What a rule of the policy lets run by its path lives, wherever it lies and however it came
//! there; what no rule names dies as before. By the kernel alone: nothing is asked at an open.

#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::guarded::{Guarded, KILLED};
use common::{Image, ran};
use lacre_measure::{Armed as _, Outcome};
use lacre_types::Mode;

fn root(it: &Guarded, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{path}", it.container.init_pid))
}

/// With a file system of its own at /mnt, as a volume is, and a file that is mounted over one.
fn guarded(image: &Image, policy: &str) -> Guarded {
    let mut it = Guarded::after(image, Mode::Enforce, |_, judge| judge.follow(policy));
    let volume = it.container.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::copy(image.lower().join("opt/evil.so"), volume.join("v.so")).unwrap();
    std::fs::copy(image.helper(), volume.join("v")).unwrap();
    std::fs::write(root(&it, "/opt/injected"), "").unwrap();
    for (from, to) in [(volume.clone(), "/mnt"), (volume.join("v"), "/opt/injected")] {
        let pid = it.container.init_pid.to_string();
        let bound = Command::new(image.helper()).args(["bind", &pid]).arg(from).arg(to).status();
        assert!(bound.unwrap().success(), "{to}");
    }
    it.container.start("/bin/t each");
    it
}

const SKIP: &str = "Actions: {ENTRY_NOT_FOUND: {ByPath: [{/mnt/**: SKIP}, {/dev/shm/*.so: SKIP}, \
                    {/opt/injected: SKIP}, {\"**/own/*\": SKIP}], Default: DENY}}";
const NONE: &str = "Actions: {}";

#[test]
fn a_rule_saves_what_it_names_wherever_that_lies() {
    let image = Image::new();
    for (policy, status) in [(SKIP, 0), (NONE, KILLED)] {
        let mut it = guarded(&image, policy);
        std::fs::create_dir(root(&it, "/tmp/own")).unwrap();
        for to in ["/dev/shm/s.so", "/tmp/own/u.so"] {
            assert_eq!(it.container.each(&format!("/bin/t copy /opt/evil.so {to}")), 0);
        }
        assert_eq!(it.container.each("/bin/t copy /bin/t /tmp/own/p"), 0);
        for (command, mark) in [
            ("/bin/t dlopen /mnt/v.so", "/tmp/called"),
            ("/bin/t dlopen /dev/shm/s.so", "/tmp/called"),
            ("/bin/t dlopen /tmp/own/u.so", "/tmp/called"),
            ("/bin/t preload /mnt/v.so /bin/t mark /tmp/m", "/tmp/m"),
            ("/mnt/v mark /tmp/m", "/tmp/m"),
            ("/opt/injected mark /tmp/m", "/tmp/m"),
            ("/tmp/own/p mark /tmp/m", "/tmp/m"),
        ] {
            let before = it.judge.all().len();
            assert_eq!(it.container.each(command), status, "{command}");
            assert_eq!(ran(&it.container, mark), status == 0, "{command}");
            let _ = std::fs::remove_file(root(&it, mark));
            let (found, outcome) = it.judge.wait_after(before, |_| true);
            let expected = if status == 0 { Outcome::Ran } else { Outcome::Killed };
            assert_eq!(outcome, expected, "{command}: {found:?}");
        }
    }
}

#[test]
fn what_no_rule_names_dies_beside_what_one_does() {
    let image = Image::new();
    let mut it = guarded(&image, SKIP);
    for to in ["/tmp/s.so", "/dev/shm/s.sox", "/dev/shm/own"] {
        assert_eq!(it.container.each(&format!("/bin/t copy /opt/evil.so {to}")), 0);
        assert_eq!(it.container.each(&format!("/bin/t dlopen {to}")), KILLED, "{to}");
    }
    assert!(!ran(&it.container, "/tmp/called"));
    // What was let pass under one name is judged by the next.
    assert_eq!(it.container.each("/bin/t copy /opt/evil.so /dev/shm/a.so"), 0);
    assert_eq!(it.container.each("/bin/t dlopen /dev/shm/a.so"), 0);
    std::fs::rename(root(&it, "/dev/shm/a.so"), root(&it, "/dev/shm/b")).unwrap();
    assert_eq!(it.container.each("/bin/t dlopen /dev/shm/b"), KILLED);
    std::fs::rename(root(&it, "/dev/shm/b"), root(&it, "/dev/shm/a.so")).unwrap();
    assert_eq!(it.container.each("/bin/t dlopen /dev/shm/a.so"), 0);
}

/// It calls a folder of its own what the rule calls another.
#[test]
fn a_root_or_a_namespace_of_ones_own_gives_no_name() {
    let image = Image::new();
    let mut it =
        guarded(&image, "Actions: {ENTRY_NOT_FOUND: {ByPath: [{/mnt/x: SKIP}], Default: DENY}}");
    assert_eq!(it.container.each("/bin/t nested /bin/t mark /tmp/m"), KILLED);
    for folder in ["/tmp/jail", "/tmp/jail/mnt", "/tmp/jail/tmp"] {
        std::fs::create_dir(root(&it, folder)).unwrap();
    }
    common::compile("memory.c", &it.container.upper("/tmp/jail/mnt/x"), &["-static"]);
    assert_eq!(it.container.each("/bin/t jail /tmp/jail /mnt/x mark /tmp/m"), KILLED);
    assert!(!ran(&it.container, "/tmp/m") && !ran(&it.container, "/tmp/jail/tmp/m"));
}

#[test]
fn a_file_of_the_image_that_was_changed_has_the_rule_of_its_kind() {
    let image = Image::new();
    let policies = [
        ("Actions: {ENTRY_NOT_FOUND: {ByPath: [{/bin/*: SKIP}], Default: DENY}}", KILLED, 0),
        ("Actions: {INVALID_HASH: {ByPath: [{/bin/*: SKIP}], Default: DENY}}", 0, KILLED),
        (
            "Actions: {INVALID_HASH: {Default: SKIP}, ENTRY_NOT_FOUND: {ByPath: [{/bin/*: SKIP}], \
             Default: DENY}}",
            0,
            0,
        ),
    ];
    for (policy, changed, foreign) in policies {
        let mut it = guarded(&image, policy);
        assert_eq!(it.container.each("/bin/t append /bin/sh"), 0);
        assert_eq!(it.container.each("/bin/sh -c exit"), changed, "{policy}");
        assert_eq!(it.container.each("/bin/t copy /bin/t /bin/x"), 0);
        assert_eq!(it.container.each("/bin/x mark /tmp/m"), foreign, "{policy}");
    }
}

#[test]
fn rules_may_change_while_it_runs() {
    let image = Image::new();
    let mut it = guarded(&image, NONE);
    for round in 0..10 {
        let (policy, status) = if round % 2 == 0 { (SKIP, 0) } else { (NONE, KILLED) };
        it.judge.follow(policy);
        it.armed.rules_changed().unwrap();
        assert_eq!(it.container.each("/bin/t dlopen /mnt/v.so"), status, "{round}");
        assert_eq!(it.container.each("/mnt/v"), status, "{round}");
    }
}
