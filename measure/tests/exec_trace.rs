//! `exec-trace` against real processes in real namespaces. Needs root and BPF.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::sync::Arc;

use common::guarded::{Guarded, KILLED};
use common::{Container, Image, Node, Recorder, id_of, ran};
use lacre_measure::exec_trace;
use lacre_measure::{Judge, Outcome};
use lacre_types::{CanonicalPath, Content, Event, Memory, Mode};

/// The event of `command`, which must die in enforce mode before it leaves a mark, and
/// live in audit mode.
fn both_ways(command: &str, mark: &str, expected: impl Fn(&lacre_types::Measurement) -> bool) {
    let image = Image::new();
    for mode in [Mode::Enforce, Mode::Audit] {
        let mut it = Guarded::new(&image, mode);
        it.container.start("/bin/t each");
        let status = it.container.each(command);
        let (_, outcome) = it.judge.wait(&expected);
        if mode == Mode::Enforce {
            assert_eq!((status, outcome), (KILLED, Outcome::Killed), "{command}");
            assert!(!ran(&it.container, mark), "{command} ran before it was killed");
        } else {
            assert_eq!((status, outcome), (0, Outcome::Watched), "{command}");
            assert!(ran(&it.container, mark), "{command} did not run in audit mode");
            assert_eq!(it.armed.counters().unwrap().kills, 0);
        }
        assert!(it.judge.losses().is_empty());
    }
}

fn at(path: &str) -> Option<CanonicalPath> {
    Some(CanonicalPath::new(path).unwrap())
}

#[test]
fn what_came_with_the_image_runs_unnoticed() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    assert_eq!(it.container.each("/bin/t mark /tmp/a"), 0);
    assert_eq!(it.container.each("/bin/t fork /bin/t mark /tmp/b"), 0);
    assert_eq!(it.container.enter("/bin/t mark /tmp/c"), 0);
    assert!(ran(&it.container, "/tmp/a") && ran(&it.container, "/tmp/c"));
    assert_eq!(it.judge.all(), []);
    let counters = it.armed.counters().unwrap();
    assert_eq!((counters.execs, counters.events, counters.kills), (5, 0, 0));
}

#[test]
fn a_program_that_is_not_in_the_baseline() {
    let image = Image::new();
    let digest = common::digest_of(&image.lower().join("opt/evil"));
    both_ways("/bin/t fork /opt/evil mark /tmp/m", "/tmp/m", |found| {
        found.event == Event::Exec
            && found.path == at("/opt/evil")
            && found.content == Content::Digest(digest)
            && found.process.uid == Some(0)
    });
}

#[test]
fn a_copy_of_a_good_program() {
    both_ways("/bin/t copyrun /bin/t /tmp/x mark /tmp/m", "/tmp/m", |found| {
        found.event == Event::Exec && found.path == at("/tmp/x") && found.digest().is_some()
    });
}

#[test]
fn a_good_program_that_was_written_to() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    // dash, since `t` itself is busy
    assert_eq!(it.container.each("/bin/sh -c exit"), 0);
    assert_eq!(it.container.each("/bin/t append /bin/sh"), 0);
    assert_eq!(it.container.each("/bin/sh -c exit"), KILLED);
    let (found, _) = it.judge.wait_path("/bin/sh");
    // It is read all the same, for the record.
    let digest = common::digest_of(&it.container.upper("/bin/sh"));
    assert_eq!(found.content, Content::Digest(digest));
}

#[test]
fn a_good_program_that_became_a_giant() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    let path = format!("/proc/{}/root/bin/sh", it.container.init_pid);
    let grown = std::process::Command::new("truncate").args(["--size=65M", &path]).status();
    assert!(grown.unwrap().success());
    assert_eq!(it.container.each("/bin/sh -c exit"), KILLED);
    let (found, _) = it.judge.wait_path("/bin/sh");
    // Its size alone tells that it is another.
    assert_eq!(found.content, Content::Size(65 << 20));
}

#[test]
fn a_program_in_memory() {
    both_ways("/bin/t memfd /bin/t mark /tmp/m", "/tmp/m", |found| {
        found.event == Event::Memfd && found.content == Content::Fileless && found.path.is_none()
    });
}

#[test]
fn a_program_that_was_unlinked_before() {
    both_ways("/bin/t unlinked /bin/t /tmp/x mark /tmp/m", "/tmp/m", |found| {
        found.event == Event::Exec
            && found.path == at("/tmp/x")
            // Who is killed takes it along.
            && matches!(found.content, Content::Digest(_) | Content::Unread(_))
    });
}

#[test]
fn a_program_on_a_file_system_of_a_nested_namespace() {
    // Its mount namespace ends with it, so that nobody may be in time to read the file.
    both_ways("/bin/t nested /bin/t mark /tmp/m", "/tmp/m", |found| {
        found.event == Event::Exec && found.path == at("/mnt/x")
    });
}

#[test]
fn a_program_in_shared_memory() {
    both_ways("/bin/t copyrun /bin/t /dev/shm/x mark /tmp/m", "/tmp/m", |found| {
        found.path == at("/dev/shm/x") && found.digest().is_some()
    });
}

#[test]
fn an_orphan_keeps_its_container() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    assert_eq!(it.container.each("/bin/t orphan /opt/evil mark /tmp/m"), 0);
    let (_, outcome) = it.judge.wait_path("/opt/evil");
    assert_eq!(outcome, Outcome::Killed);
    assert!(!ran(&it.container, "/tmp/m"));
}

#[test]
fn who_enters_from_outside_is_judged_like_the_others() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    assert_eq!(it.container.enter("/opt/evil mark /tmp/m"), KILLED);
    assert_eq!(it.container.enter("/bin/t nested /bin/t mark /tmp/m"), KILLED);
    assert!(!ran(&it.container, "/tmp/m"));
    assert_eq!(it.container.enter("/bin/t mark /tmp/m"), 0);
}

#[test]
fn the_first_program_of_a_container_is_judged_and_an_init_dies_too() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    assert_eq!(it.container.run("/opt/evil mark /tmp/m"), KILLED);
    assert!(!ran(&it.container, "/tmp/m"));
    it.judge.wait_path("/opt/evil");
}

#[test]
fn an_elf_interpreter_that_is_not_in_the_baseline() {
    // The program is allowed, what loads it is not.
    let mut image = Image::new();
    let loader = "/opt/ld.so";
    common::copy("/lib64/ld-linux-x86-64.so.2", image.lower().join(&loader[1..]));
    let program = image.lower().join("opt/p");
    common::compile("t", &program, &["-Wl,--dynamic-linker=/opt/ld.so"]);
    image.allow("/opt/p");
    let mut it = Guarded::new(&image, Mode::Enforce);
    assert_eq!(it.container.run("/opt/p mark /tmp/m"), KILLED);
    let (found, outcome) = it.judge.wait_path(loader);
    assert_eq!((found.event, outcome), (Event::Interpreter, Outcome::Killed));
    assert!(!ran(&it.container, "/tmp/m"));
}

#[test]
fn a_preloaded_library() {
    both_ways("/bin/t preload /opt/evil.so /bin/t mark /tmp/m", "/tmp/loaded", |found| {
        found.event == Event::Mmap && found.path == at("/opt/evil.so") && found.digest().is_some()
    });
}

#[test]
fn a_library_opened_later() {
    both_ways("/bin/t dlopen /opt/evil.so", "/tmp/called", |found| {
        found.event == Event::Mmap && found.path == at("/opt/evil.so")
    });
}

#[test]
fn a_library_in_memory() {
    both_ways("/bin/t memfdlib /opt/evil.so", "/tmp/called", |found| {
        found.event == Event::Memfd
            && found.content == Content::Memory(Memory::Shared)
            && found.path == at("/bin/t")
    });
}

#[test]
fn a_program_handed_to_the_loader() {
    let image = Image::new();
    for mode in [Mode::Enforce, Mode::Audit] {
        let mut it = Guarded::new(&image, mode);
        it.container.start("/bin/t each");
        assert_eq!(it.container.each("/bin/t copy /opt/evil /tmp/x"), 0);
        it.container.each("/lib64/ld-linux-x86-64.so.2 /tmp/x mark /tmp/m");
        let (found, _) = it.judge.wait_path("/tmp/x");
        assert_eq!(found.event, Event::Mmap);
        assert_eq!(ran(&it.container, "/tmp/m"), mode == Mode::Audit);
    }
}

/// A file that did not come with the image.
fn write(container: &Container, name: &str, text: &str) {
    std::fs::write(format!("/proc/{}/root/{name}", container.init_pid), text).unwrap();
}

#[test]
fn a_script_is_an_argument() {
    let mut image = Image::new();
    std::fs::write(image.lower().join("opt/good"), ": >/tmp/m\n").unwrap();
    image.allow("/opt/good");
    let mut it = Guarded::new(&image, Mode::Enforce);
    write(&it.container, "opt/bad", "while :; do :; done\n");
    it.container.start("/bin/t each");
    it.container.each("/bin/sh -e /opt/good");
    let (found, outcome) = it.judge.wait_path("/opt/good");
    assert_eq!((found.event, outcome), (Event::Script, Outcome::Ran));
    assert!(found.digest().is_some());
    // It never ends, so that it is alive to be killed.
    it.container.start("/bin/t fork /bin/sh /opt/../opt/bad");
    let (found, outcome) = it.judge.wait_path("/opt/bad");
    assert_eq!((found.event, outcome), (Event::Script, Outcome::Killed));
    assert!(found.digest().is_some());
}

#[test]
fn a_shebang_names_its_script() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Audit);
    let script = it.container.upper("/opt/s");
    common::place::write(&script, "#!/bin/sh -e\n: >/tmp/m\n");
    it.container.start("/bin/t each");
    assert_eq!(it.container.each("/opt/s"), 0);
    let (found, _) = it.judge.wait(|found| found.event == Event::Script);
    assert_eq!(found.path, at("/opt/s"));
    assert_eq!(found.digest(), Some(&common::digest_of(&script)));
}

#[test]
fn code_after_c_is_no_script() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    assert_eq!(it.container.each("/bin/sh -c :"), 0);
    assert_eq!(it.armed.counters().unwrap().events, 0, "not even looked at");
    // An event that comes after the shell's.
    it.container.each("/opt/evil");
    it.judge.wait_path("/opt/evil");
    assert_eq!(it.judge.all().len(), 1);
}

#[test]
fn a_script_after_c_is_looked_at() {
    let mut image = Image::new();
    common::copy(image.lower().join("bin/sh"), image.lower().join("bin/perl"));
    image.allow("/bin/perl");
    let mut it = Guarded::new(&image, Mode::Audit);
    write(&it.container, "opt/bad", "1;\n");
    it.container.start("/bin/t each");
    it.container.each("/bin/perl -c /opt/bad");
    let (found, _) = it.judge.wait_path("/opt/bad");
    assert_eq!(found.event, Event::Script);
}

#[test]
fn what_another_source_allowed_runs() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    it.container.start("/bin/t each");
    it.container.each("/bin/t copy /bin/t /tmp/x");
    let path = CanonicalPath::new("/tmp/x").unwrap();
    let id = it.armed.resolve(&path).unwrap();
    assert_eq!(id, id_of(&it.container.upper("/tmp/x")));
    let root = format!("/proc/{}/root", it.container.init_pid);
    let file = std::fs::File::open(format!("{root}/tmp/x")).unwrap();
    let verified = it.armed.allower().verify(file.into()).unwrap();
    assert_eq!(verified.lasting(), Some(&id));
    it.armed.allower().allow(&verified, Some(&path)).unwrap();
    drop(verified);
    assert_eq!(it.container.each("/tmp/x mark /tmp/m"), 0);
    assert_eq!(it.judge.all(), []);
    it.armed.allower().forget(&id).unwrap();
    assert_eq!(it.container.each("/tmp/x mark /tmp/m"), KILLED);
}

#[test]
fn a_lower_path_resolves_to_the_file_of_the_lower_directory() {
    let image = Image::new();
    let it = Guarded::new(&image, Mode::Audit);
    let id = it.armed.resolve(&CanonicalPath::new("/bin/t").unwrap()).unwrap();
    assert_eq!(id, id_of(&image.helper()));
    assert!(it.armed.resolve(&CanonicalPath::new("/tmp/none").unwrap()).is_err());
}

#[test]
fn what_the_baseline_allows_elsewhere_is_told_until_it_is_remembered() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Audit);
    let digest = common::digest_of(&image.lower().join("opt/evil"));
    it.judge.baseline.lock().unwrap().insert(CanonicalPath::new("/opt/evil").unwrap(), digest);
    it.container.start("/bin/t each");
    it.container.each("/opt/evil");
    it.judge.wait_path("/opt/evil");
    let before = it.armed.counters().unwrap().events;
    it.container.each("/opt/evil");
    assert_eq!(it.armed.counters().unwrap().events, before);
}

#[test]
fn the_host_and_other_containers_are_left_alone() {
    let image = Image::new();
    let mut it = Guarded::new(&image, Mode::Enforce);
    let mut other = Container::new(&image);
    let evil = image.lower().join("opt/evil");
    assert!(std::process::Command::new(&evil).status().unwrap().success());
    assert_eq!(other.run("/opt/evil"), 0);
    assert_eq!(it.container.run("/opt/evil"), KILLED);
}

#[test]
fn a_ring_that_overflows_is_a_loss() {
    let image = Image::new();
    let node = Node::new();
    let mut container = Container::new(&image);
    let judge = Recorder::new(Mode::Enforce, &image);
    let options = exec_trace::Options { ring_bytes: 4096, ..node.options() };
    let target = container.target(&image, Mode::Enforce);
    let armed = exec_trace::arm(&target, Arc::clone(&judge) as Arc<dyn Judge>, &options).unwrap();
    container.start("/bin/t each");
    // While the judge is held, who verifies waits in it, and with what finds no room there the
    // reader itself: then the ring fills.
    let held = judge.hold();
    let lost = (0..1000)
        .find_map(|_| {
            assert_eq!(container.each("/opt/evil"), KILLED);
            Some(armed.counters().unwrap().lost).filter(|lost| *lost > 0)
        })
        .expect("the ring takes everything");
    drop(held);
    assert_eq!(judge.wait_loss(), lacre_measure::Loss::Overflow(Some(lost)));
}

/// It was let run before, and holds what it held.
#[test]
fn a_script_of_the_images_that_nothing_lists_is_its_own_though_its_owner_changed() {
    let image = Image::new();
    common::place::write(&image.lower().join("opt/notes"), "exit 7\n");
    let it = Guarded::new(&image, Mode::Enforce);
    let notes = format!("/proc/{}/root/opt/notes", it.container.init_pid);
    assert_eq!(it.container.enter("/bin/sh /opt/notes"), 7);
    std::os::unix::fs::chown(&notes, Some(7), None).unwrap();
    for _ in 0..10 {
        assert_eq!(it.container.enter("/bin/sh /opt/notes"), 7);
    }
    let told = it.judge.all();
    assert!(told.iter().all(|(_, outcome)| *outcome != Outcome::Killed), "{told:#?}");
    std::fs::write(&notes, "while :; do :; done\n").unwrap();
    assert_eq!(it.container.enter("/bin/sh /opt/notes"), KILLED);
}
