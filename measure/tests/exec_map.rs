//! `exec-map` against real processes in real namespaces. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use common::{Container, Image, Recorder, ran};
use lacre_measure::exec_map::{self, ExecMapArmed, Options};
use lacre_measure::{Judge, Loss, Outcome};
use lacre_types::{CanonicalPath, Content, Digest, Event, Measurement, Memory, Mode};
use sha2::{Digest as _, Sha256};

fn guarded(image: &Image, mode: Mode) -> (Container, Arc<Recorder>, ExecMapArmed) {
    let container = Container::new(image);
    // The container's own: what the image has may be mapped, for as long as it holds the same.
    for name in ["opt/evil", "opt/evil.so"] {
        let own = format!("/proc/{}/root/{name}", container.init_pid);
        // Anew: one that was copied up has a number of the image's.
        std::fs::remove_file(&own).unwrap();
        std::fs::write(&own, foreign(image, name)).unwrap();
        std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let judge = Recorder::new(mode, image);
    let target = container.target(image, mode);
    let armed =
        exec_map::arm(&target, Arc::clone(&judge) as Arc<dyn Judge>, &Options::default()).unwrap();
    (container, judge, armed)
}

/// A file of the image, and a byte more.
fn foreign(image: &Image, name: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(image.lower().join(name)).unwrap();
    bytes.push(0);
    bytes
}

/// In audit mode the command ends well, and what it mapped is told.
fn told(command: &str, expected: impl Fn(&Measurement) -> bool) {
    let image = Image::new();
    let (mut container, judge, _armed) = guarded(&image, Mode::Audit);
    container.start("/bin/t each");
    assert_eq!(container.each(command), 0);
    let (_, outcome) = judge.wait(expected);
    assert_eq!(outcome, Outcome::Watched);
    assert_eq!(judge.losses(), []);
}

fn at(path: &str) -> Option<CanonicalPath> {
    Some(CanonicalPath::new(path).unwrap())
}

#[test]
fn what_came_with_the_image_is_not_told() {
    let image = Image::new();
    let (mut container, judge, _armed) = guarded(&image, Mode::Enforce);
    container.start("/bin/t each");
    assert_eq!(container.each("/bin/t mark /tmp/m"), 0);
    assert_eq!(container.each("/bin/sh -c :"), 0);
    // What comes after them, so that they were read.
    container.each("/opt/evil");
    judge.wait(|found| found.path == at("/opt/evil"));
    assert_eq!(judge.all().len(), 1, "{:#?}", judge.all());
    assert!(ran(&container, "/tmp/m"));
}

#[test]
fn a_foreign_program() {
    let image = Image::new();
    let digest = Digest::sha256(Sha256::digest(foreign(&image, "opt/evil")).into());
    told("/opt/evil", |found| {
        found.event == Event::Mmap
            && found.path == at("/opt/evil")
            && found.content == Content::Digest(digest)
    });
}

#[test]
fn a_foreign_library() {
    told("/bin/t dlopen /opt/evil.so", |found| found.path == at("/opt/evil.so"));
}

#[test]
fn a_memfd_that_is_mapped() {
    let image = Image::new();
    let (mut container, judge, _armed) = guarded(&image, Mode::Audit);
    container.start("/bin/t memfdlib /opt/evil.so stay");
    judge.wait(|found| {
        found.event == Event::Memfd
            && found.content == Content::Memory(Memory::Shared)
            && found.path == at("/bin/t")
    });
}

#[test]
fn a_memfd_that_is_executed() {
    // Of one that has gone nobody can tell.
    told("/bin/t memfd /bin/t mark /tmp/m", |found| {
        found.event == Event::Memfd
            && matches!(found.content, Content::Fileless | Content::Memory(Memory::Shared))
    });
}

/// It may have been the program.
#[test]
fn a_memfd_of_one_that_has_gone() {
    told("/bin/t memfdlib /opt/evil.so", |found| {
        found.event == Event::Memfd
            && matches!(found.content, Content::Fileless | Content::Memory(Memory::Shared))
    });
}

#[test]
fn memory_made_executable() {
    told("/bin/t anonymous", |found| {
        found.event == Event::Mprotect && found.content == Content::Memory(Memory::Private)
    });
}

/// What was written over a page of the image's file is no file's any more.
#[test]
fn a_page_of_a_file_that_was_written_over_is_memory() {
    let image = Image::new();
    for how in ["/bin/t rx", "/bin/t rwx", "/opt/evil.so rx"] {
        let (mut container, judge, _armed) = guarded(&image, Mode::Enforce);
        container.start("/bin/t each");
        // It waits until it is killed.
        assert_eq!(container.each(&format!("/bin/t rewritten {how}")), 137);
        let (found, outcome) = judge.wait(|found| found.event == Event::Mprotect);
        assert_eq!(found.content, Content::Memory(Memory::Private), "{how}");
        assert_eq!((found.path, outcome), (at("/bin/t"), Outcome::Killed), "{how}");
        assert_eq!(judge.losses(), []);
    }
}

#[test]
fn a_copy_in_a_nested_namespace_and_by_an_orphan() {
    told("/bin/t nested /bin/t mark /tmp/m", |found| found.path == at("/mnt/x"));
    told("/bin/t orphan /opt/evil", |found| found.path == at("/opt/evil"));
}

#[test]
fn a_judge_that_denies_ends_the_process() {
    let image = Image::new();
    let (mut container, judge, _armed) = guarded(&image, Mode::Enforce);
    container.start("/bin/t each");
    assert_eq!(container.each("/opt/evil pause"), 137);
    let (_, outcome) = judge.wait(|found| found.path == at("/opt/evil"));
    assert_eq!(outcome, Outcome::Killed);
}

#[test]
fn who_enters_is_followed() {
    let image = Image::new();
    let (mut container, judge, armed) = guarded(&image, Mode::Audit);
    container.start("/bin/t pause");
    let mut entering = container.enter_when_told("/bin/t fork /opt/evil");
    armed.follow(entering.pid()).unwrap();
    assert_eq!(entering.go(), 0);
    judge.wait(|found| found.path == at("/opt/evil"));
}

#[test]
fn a_full_ring_is_a_loss() {
    let image = Image::new();
    let mut container = Container::new(&image);
    let judge = Recorder::new(Mode::Enforce, &image);
    let target = container.target(&image, Mode::Enforce);
    let options = Options { ring_pages: 1 };
    let _armed = exec_map::arm(&target, Arc::clone(&judge) as Arc<dyn Judge>, &options).unwrap();
    // One ring, so that what is lost of it is told by it.
    container.pin();
    container.start("/bin/t each");
    // Who verifies stands in the judge meanwhile, and what finds no room with them (256 files)
    // has the reader stand there too: then the ring fills.
    let held = judge.baseline.lock().unwrap();
    for _ in 0..400 {
        container.each("/bin/t mark /tmp/m");
    }
    drop(held);
    // The kernel tells of a loss with the next record that finds room: some time after
    // the reader was let go. Until those who waited are verified, who comes is killed unread.
    let mut runs = Vec::new();
    for _ in 0..1000 {
        if !judge.losses().is_empty() {
            break;
        }
        runs.push(container.each("/bin/t mark /tmp/m"));
    }
    assert!(runs.iter().all(|code| [0, 137].contains(code)), "{runs:?}");
    assert!(matches!(judge.wait_loss(), Loss::Overflow(Some(count)) if count > 0));
}

#[test]
fn this_node_has_what_it_needs() {
    exec_map::probe().unwrap();
}
