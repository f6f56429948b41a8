//! Code without a file, and files that lost their names: as engines, libraries and attackers
//! have them. Needs root and BPF.
//!
//! Memory that a process makes executable is no program and no file; whether it may be is the
//! policy's to say. A file is judged by what it holds, whatever became of its name.

#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::process::Command;

use common::guarded::{Guarded, KILLED};
use common::{Container, Image, Recorder, ran};
use lacre_measure::{Armed as _, Outcome, Spared};
use lacre_types::{CanonicalPath, Content, Event, Measurement, Memory, Mode};

/// An image with the engine, and a core that its engine maps as code, which is no code to any
/// baseline.
fn image() -> Image {
    let mut image = Image::new();
    // Before the compiler runs: a tick of the clock that dates files is 10 ms.
    let mut core = vec![0xb8, 42, 0, 0, 0, 0xc3];
    core.resize(4096, 0);
    std::fs::write(image.lower().join("opt/core"), core).unwrap();
    std::fs::create_dir(image.lower().join("dev/pts")).unwrap();
    common::compile("memory.c", &image.lower().join("bin/j"), &[]);
    image.allow("/bin/j");
    image
}

fn guarded(image: &Image, mode: Mode, spared: Spared) -> Guarded {
    let mut it = Guarded::after(image, mode, |_, judge| *judge.spared.lock().unwrap() = spared);
    it.container.start("/bin/t each");
    it
}

const ALLOW: Spared = Spared { memory: true, programs: false };
const DENY: Spared = Spared { memory: false, programs: false };

fn at(path: &str) -> Option<CanonicalPath> {
    Some(CanonicalPath::new(path).unwrap())
}

fn contents(judge: &Recorder) -> Vec<Content> {
    judge.all().into_iter().map(|(found, _)| found.content).collect()
}

/// What engines and libraries have as memory, by mechanism; of what `fetch` sees, which sort.
const ENGINES: [(&str, Option<Memory>); 11] = [
    ("private", None),
    ("moved", None),
    ("collapsed", None),
    ("stack", None),
    ("memfd", Some(Memory::Shared)),
    ("forked", Some(Memory::Shared)),
    ("sysv", Some(Memory::Shared)),
    ("posix", Some(Memory::Shared)),
    ("tmpfile", Some(Memory::Shared)),
    ("unlinked", Some(Memory::Shared)),
    ("zero", None),
];

#[test]
fn engines_live_where_the_policy_lets_memory_be() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce, ALLOW);
    for (how, sort) in ENGINES {
        if how == "zero" && !zero(&it.container) {
            continue;
        }
        let before = it.judge.all().len();
        assert_eq!(it.container.each(&format!("/bin/j {how}")), 0, "{how}");
        if let Some(sort) = sort {
            let (found, outcome) = it.judge.wait_after(before, |_| true);
            assert_eq!(found.content, Content::Memory(sort), "{how}");
            assert_eq!((found.path, outcome), (at("/bin/j"), Outcome::Ran), "{how}");
        }
    }
    assert_eq!(it.armed.counters().unwrap().kills, 0);
    let only = |content: &Content| matches!(content, Content::Memory(_));
    assert!(contents(&it.judge).iter().all(only), "{:?}", contents(&it.judge));
}

/// A node for it, as every container has one.
fn zero(container: &Container) -> bool {
    let path = format!("/proc/{}/root/dev/zero", container.init_pid);
    Command::new("mknod").args([&path, "c", "1", "5"]).status().unwrap().success()
}

#[test]
fn engines_die_where_the_policy_denies_memory_that_several_mappings_share() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce, DENY);
    for (how, sort) in ENGINES {
        let Some(sort) = sort else { continue };
        let before = it.judge.all().len();
        assert_eq!(it.container.each(&format!("/bin/j {how}")), KILLED, "{how}");
        let (found, outcome) = it.judge.wait_after(before, |_| true);
        assert_eq!((found.content, outcome), (Content::Memory(sort), Outcome::Killed), "{how}");
    }
}

#[test]
fn what_the_policy_says_of_memory_may_change_while_it_runs() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce, ALLOW);
    for (spared, status) in [(ALLOW, 0), (DENY, KILLED), (ALLOW, 0), (DENY, KILLED)] {
        *it.judge.spared.lock().unwrap() = spared;
        it.armed.rules_changed().unwrap();
        assert_eq!(it.container.each("/bin/j memfd"), status, "{spared:?}");
    }
}

#[test]
fn one_process_is_told_of_once_for_each_sort() {
    let image = image();
    let mut it = guarded(&image, Mode::Audit, DENY);
    assert_eq!(it.container.each("/bin/j memfd"), 0);
    let (found, outcome) = it.judge.wait(|_| true);
    assert_eq!(outcome, Outcome::Watched);
    assert_eq!(found.process.uid, Some(0));
    assert_eq!(it.armed.counters().unwrap().events, 1);
}

#[test]
fn a_jump_to_what_may_not_be_executed_is_no_code_that_ran() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce, DENY);
    assert_eq!(it.container.each("/bin/j nx"), 0);
    assert_eq!(it.container.each("/bin/j nxfile"), 0);
    assert_eq!(it.armed.counters().unwrap().events, 0);
}

#[test]
fn data_of_the_image_may_be_mapped_as_code_until_it_is_written_to() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce, DENY);
    for _ in 0..3 {
        assert_eq!(it.container.each("/bin/j data /opt/core"), 0, "{:?}", it.judge.all());
    }
    assert_eq!(it.container.each("/bin/j ownwritten /opt/core"), KILLED);
    let (found, outcome) = it.judge.wait_path("/opt/core");
    assert_eq!((found.event, outcome), (Event::Mmap, Outcome::Killed));
    assert_eq!(it.judge.all().len(), 1);
}

fn program(how: &str, expected: impl Fn(&Measurement) -> bool) {
    let image = image();
    for mode in [Mode::Enforce, Mode::Audit] {
        let mut it = guarded(&image, mode, ALLOW);
        let status = it.container.each(&format!("/bin/j {how} mark /tmp/m"));
        // Its pages are told as memory, too, and nothing says which is told first.
        let (_, outcome) = it.judge.wait(&expected);
        let killed = mode == Mode::Enforce;
        assert_eq!((status == KILLED, outcome == Outcome::Killed), (killed, killed), "{how}");
        assert_eq!(ran(&it.container, "/tmp/m"), !killed, "{how}");
    }
}

#[test]
fn a_program_in_memory_is_no_memory() {
    program("exec-memfd", |found| {
        found.event == Event::Memfd && found.content == Content::Fileless && found.path.is_none()
    });
    program("exec-mapped", |found| {
        found.event == Event::Exec && found.content == Content::Fileless && found.path.is_none()
    });
}

#[test]
fn a_program_in_memory_lives_where_the_policy_lets_it() {
    let image = image();
    let spared = Spared { memory: true, programs: true };
    let mut it = guarded(&image, Mode::Enforce, spared);
    assert_eq!(it.container.each("/bin/j exec-memfd mark /tmp/m"), 0);
    assert!(ran(&it.container, "/tmp/m"));
    let (found, outcome) = it.judge.wait(|_| true);
    assert_eq!((found.content, outcome), (Content::Fileless, Outcome::Ran));
}

#[test]
fn a_file_without_a_name_is_a_file() {
    // Who is killed takes a file without a name along.
    let held = |found: &Measurement| {
        // Its own pages are told too, where it is told first that they are fetched.
        matches!(found.event, Event::Exec | Event::Mmap)
            && matches!(found.content, Content::Digest(_) | Content::Unread(_))
    };
    program("exec-tmpfile", |found| {
        held(found) && found.path.as_ref().is_some_and(|path| path.as_bytes().starts_with(b"/tmp/"))
    });
    program("exec-unlinked", |found| held(found) && found.path == at("/tmp/x"));
    program("exec-shm", |found| held(found) && found.path == at("/dev/shm/x"));
}

#[test]
fn the_images_own_runs_again_after_its_name_went() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce, DENY);
    assert_eq!(it.container.each("/bin/j again /bin/j"), 0);
    assert!(ran(&it.container, "/tmp/again"));
    assert_eq!(it.judge.all(), []);
}
