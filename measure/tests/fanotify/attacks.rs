//! The attacks, by their numbers in the corpus.

use lacre_measure::{Block, Outcome};
use lacre_types::{Content, Event, Mode};

use crate::baseline::{content_is, path};
use crate::container::{Container, compile, programs};
use crate::{Baseline, EPERM, Guarded, Limits, place};

fn enforce() -> Guarded {
    Guarded::new(Mode::Enforce, Block::Exec)
}

fn enforce_all() -> Guarded {
    Guarded::new(Mode::Enforce, Block::All)
}

fn evil() -> Vec<u8> {
    std::fs::read(&programs().evil).unwrap()
}

#[test]
fn the_image_runs_and_a_second_run_asks_nothing() {
    for block in [Block::Exec, Block::All] {
        let it = Guarded::new(Mode::Enforce, block);
        for _ in 0..2 {
            assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
            assert_eq!(it.container.tool(&["read", "/data"]), 0);
            // Told last, when it is settled.
            it.baseline.wait("/bin/good");
        }
        let (measurement, outcome) = it.baseline.wait("/bin/good");
        assert_eq!((measurement.event, outcome), (Event::Exec, Outcome::Ran));
        assert!(content_is(&measurement, &std::fs::read(&programs().good).unwrap()));
        let goods =
            it.baseline.all().iter().filter(|(m, _)| m.path == Some(path("/bin/good"))).count();
        assert_eq!(goods, 1, "{block:?}");
    }
}

#[test]
fn a01_a_dropped_program_is_denied_and_told_with_its_digest() {
    let it = enforce();
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["run", "/tmp/x"]), EPERM);
    let (measurement, outcome) = it.baseline.wait("/tmp/x");
    assert_eq!(outcome, Outcome::Denied);
    assert!(content_is(&measurement, &evil()));
    assert_eq!(measurement.process.uid, Some(0));
}

#[test]
fn a02_an_overwritten_program_is_denied() {
    for block in [Block::Exec, Block::All] {
        let it = Guarded::new(Mode::Enforce, block);
        assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
        it.container.put(&programs().evil, "/bin/good");
        assert_eq!(it.container.tool(&["run", "/bin/good"]), EPERM);
        let denied = |m: &lacre_types::Measurement, o| {
            m.path == Some(path("/bin/good")) && o == Outcome::Denied
        };
        assert!(content_is(&it.baseline.wait_for("the denial", denied).0, &evil()));
    }
}

#[test]
fn a02_a_program_that_only_changed_its_owner_still_runs() {
    let it = enforce();
    assert_eq!(it.container.run(&["/bin/busybox", "chown", "7:7", "/bin/good"]), 0);
    for _ in 0..2 {
        assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
        it.baseline.wait("/bin/good");
    }
    // Read once, though it was copied up; and no longer, once it was written to.
    let good = |(m, _): &&(lacre_types::Measurement, Outcome)| m.path == Some(path("/bin/good"));
    assert_eq!(it.baseline.all().iter().filter(good).count(), 1);
    assert_eq!(it.container.tool(&["store", "/bin/good", "first"]), EPERM);
}

#[test]
fn a03_a_program_on_a_volume_is_denied() {
    let it = enforce();
    place::copy(&programs().evil, it.container.volume().join("x"));
    assert_eq!(it.container.tool(&["run", "/vol/x"]), EPERM);
    assert_eq!(it.baseline.wait("/vol/x").1, Outcome::Denied);
    // The same file, by the host's own mount, is nobody's business.
    let status = std::process::Command::new(it.container.volume().join("x")).status().unwrap();
    assert!(status.success());
}

#[test]
fn a04_a_program_on_a_tmpfs_is_denied() {
    let it = enforce();
    it.container.put(&programs().evil, "/dev/shm/x");
    assert_eq!(it.container.tool(&["run", "/dev/shm/x"]), EPERM);
}

#[test]
fn a04_a_tmpfs_that_is_mounted_later_is_marked() {
    let it = enforce();
    assert_eq!(it.container.run(&["/bin/busybox", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]), 0);
    it.container.put(&programs().evil, "/mnt/x");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while it.container.tool(&["run", "/mnt/x"]) != EPERM {
        assert!(std::time::Instant::now() < until);
    }
}

/// A dynamic program, its loader and its libraries, in an image.
pub fn dynamic(lower: &std::path::Path) {
    compile(&lower.join("bin/dynamic"), &["-DNOTE=\"dynamic\""]);
    for file in ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"] {
        let to = lower.join(&file[1..]);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        place::copy(file, to);
    }
}

#[test]
fn a13_the_loader_does_not_open_a_dropped_program() {
    for (block, status) in [(Block::All, 127), (Block::Exec, 0)] {
        let container = Container::start(dynamic);
        let baseline = Baseline::of(&container.lower(), Mode::Enforce);
        let it = Guarded::arm(container, baseline, Mode::Enforce, block, Limits::default());
        assert_eq!(it.container.tool(&["run", "/bin/dynamic"]), 0);
        let x = it.container.dir.path().join("x");
        compile(&x, &["-DNOTE=\"dropped\""]);
        it.container.put(&x, "/tmp/x");
        let loader = "/lib64/ld-linux-x86-64.so.2";
        assert_eq!(it.container.run(&[loader, "/tmp/x"]), status, "{block:?}");
        if block == Block::All {
            let (measurement, outcome) = it.baseline.wait("/tmp/x");
            assert_eq!((measurement.event, outcome), (Event::Open, Outcome::Denied));
            let loaded = |m: &lacre_types::Measurement, _| {
                m.path == Some(path(loader)) && m.event == Event::Interpreter
            };
            it.baseline.wait_for("the loader", loaded);
        }
    }
}

#[test]
fn a14_a_script_that_an_interpreter_is_handed_is_denied() {
    let it = enforce_all();
    let sh = |script: &str| it.container.run(&["/bin/sh", script]);
    assert_eq!(it.container.tool(&["write", "/tmp/a", "#!/bin/sh\nexit 0\n"]), 0);
    assert_ne!(sh("/tmp/a"), 0);
    assert_eq!(it.container.tool(&["write", "/tmp/b", "exit 0\n"]), 0);
    assert_ne!(sh("/tmp/b"), 0);
    assert_eq!(it.container.tool(&["write", "/vol/c", "exit 0\n"]), 0);
    assert_ne!(sh("/vol/c"), 0);
    for name in ["/tmp/a", "/tmp/b", "/vol/c"] {
        let (measurement, outcome) = it.baseline.wait(name);
        assert_eq!((measurement.event, outcome), (Event::Script, Outcome::Denied), "{name}");
    }
    // The same bytes are data to who doesn't run them.
    assert_eq!(it.container.tool(&["read", "/tmp/b"]), 0);
    assert_eq!(it.container.run(&["/bin/busybox", "grep", "exit", "/tmp/b"]), 0);
}

#[test]
fn a14_data_is_neither_denied_nor_told() {
    let it = enforce_all();
    assert_eq!(it.container.tool(&["write", "/tmp/d", "a,b\n"]), 0);
    assert_eq!(it.container.run(&["/bin/sh", "-c", "read x < /tmp/d; read x < /data"]), 0);
    assert_eq!(it.container.tool(&["read", "/vol"]), 21);
    assert!(!it.baseline.all().iter().any(|(m, _)| m.path == Some(path("/tmp/d"))));
}

#[test]
fn a21_a_deleted_program_is_denied_by_its_descriptor() {
    let it = enforce();
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["deleted", "/tmp/x"]), EPERM);
    it.baseline.wait("/tmp/x");
    // And the image's own still runs.
    assert_eq!(it.container.tool(&["deleted", "/bin/good"]), 0);
    it.baseline.wait("/bin/good");
}

#[test]
fn a22_a_file_that_never_had_a_name_is_denied() {
    let it = enforce();
    place::copy(&programs().evil, it.container.volume().join("x"));
    for dir in ["/tmp", "/vol", "/dev/shm"] {
        assert_eq!(it.container.tool(&["tmpfile", "/vol/x", dir]), EPERM, "{dir}");
    }
}

#[test]
fn a23_a_good_name_on_bad_content_is_denied_and_back_again_runs() {
    let it = enforce();
    it.container.put(&programs().evil, "/tmp/x");
    let mv = |from, to| it.container.run(&["/bin/busybox", "mv", from, to]);
    assert_eq!(mv("/bin/good", "/bin/kept"), 0);
    assert_eq!(it.container.run(&["/bin/busybox", "ln", "/tmp/x", "/bin/good"]), 0);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), EPERM);
    assert_eq!(it.container.tool(&["run", "/bin/kept"]), EPERM);
    assert_eq!(mv("/bin/kept", "/bin/good"), 0);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
}

#[test]
fn a23_bad_content_under_a_settled_name_is_denied_but_a_settled_file_keeps_no_name() {
    let it = enforce();
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    it.baseline.wait("/bin/good");
    let mv = |from, to| it.container.run(&["/bin/busybox", "mv", from, to]);
    assert_eq!(mv("/bin/good", "/bin/kept"), 0);
    assert_eq!(mv("/tmp/x", "/bin/good"), 0);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), EPERM);
    // The image's own bytes by another name: exec-trace's to see, as the module says.
    assert_eq!(it.container.tool(&["run", "/bin/kept"]), 0);
}

#[test]
fn a32_a_nested_mount_namespace_keeps_the_root_but_its_tmpfs_is_a_miss() {
    let it = enforce();
    place::copy(&programs().evil, it.container.volume().join("x"));
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["unshared", "/tmp/x"]), EPERM);
    // exec-trace's to see, as the module says.
    assert_eq!(it.container.tool(&["nested", "/vol/x", "/mnt"]), 0);
}

#[test]
fn a36_odd_names_are_denied_and_told_as_they_are() {
    let it = enforce();
    for name in
        ["/tmp/a\nb", "/tmp/good (deleted)", "/tmp/ ", "/tmp/\u{202e}gpj", "/bin/good (deleted)"]
    {
        it.container.put(&programs().evil, name);
        assert_eq!(it.container.tool(&["run", name]), EPERM, "{name:?}");
        it.baseline.wait(name);
    }
    place::copy(&programs().evil, it.container.volume().join("x"));
    let deep = it.container.output(&["/bin/sh", "-c", "cd /vol && exec /bin/tool deep x"]);
    assert_ne!(deep.status.code(), Some(0));
    let mut deep = it.container.spawn(&["/bin/sh", "-c", "cd /tmp && exec /bin/tool deep /vol/x"]);
    assert_eq!(deep.wait().unwrap().code(), Some(EPERM));
    it.baseline.wait_for("the one with no name", |m, o| m.path.is_none() && o == Outcome::Denied);
}

#[test]
fn a40_a_thousand_tries_at_once_are_denied() {
    let it = enforce();
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["retry", "/tmp/x", "1000"]), 0);
    assert_eq!(it.failures("overflow"), 0);
    it.baseline.wait("/tmp/x");
}

#[test]
fn a45_a_foreign_loader_or_interpreter_is_denied() {
    let foreign = "-Wl,--dynamic-linker=/tmp/ld.so";
    let container = Container::start(|lower| {
        dynamic(lower);
        compile(&lower.join("bin/foreign"), &["-DNOTE=\"f\"", foreign]);
        place::write(&lower.join("bin/script"), "#!/tmp/ld.so\n");
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::Exec, Limits::default());
    it.container.put(&programs().evil, "/tmp/ld.so");
    assert_eq!(it.container.tool(&["run", "/bin/foreign"]), EPERM);
    let (measurement, outcome) = it.baseline.wait("/tmp/ld.so");
    assert_eq!((measurement.event, outcome), (Event::Interpreter, Outcome::Denied));
    assert_eq!(it.container.tool(&["run", "/bin/script"]), EPERM);
}

#[test]
fn a48_a_bind_mount_over_a_good_name_is_denied() {
    let it = enforce();
    it.container.put(&programs().evil, "/tmp/x");
    place::copy(&programs().evil, it.container.volume().join("x"));
    for from in ["/tmp/x", "/vol/x"] {
        let mount = ["/bin/busybox", "mount", "--bind", from, "/bin/good"];
        assert_eq!(it.container.run(&mount), 0);
        if from == "/tmp/x" {
            assert_eq!(it.container.tool(&["run", "/bin/good"]), EPERM);
            it.baseline.wait_for("the bad content", |m, _| content_is(m, &evil()));
        } else {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while it.container.tool(&["run", "/bin/good"]) != EPERM {
                assert!(std::time::Instant::now() < until, "the bind mount was never marked");
            }
        }
        assert_eq!(it.container.run(&["/bin/busybox", "umount", "/bin/good"]), 0);
    }
}

#[test]
fn a54_a_sparse_file_of_10_gb_is_answered_at_once() {
    let it = enforce();
    let size = "10000000000";
    for name in ["/tmp/x", "/bin/good"] {
        assert_eq!(it.container.tool(&["sparse", name, size]), 0);
        let from = std::time::Instant::now();
        assert_eq!(it.container.tool(&["run", name]), EPERM);
        assert!(from.elapsed().as_millis() < 500, "{name}: {:?}", from.elapsed());
        let (measurement, _) =
            it.baseline.wait_for(name, |m, o| m.path == Some(path(name)) && o == Outcome::Denied);
        assert_eq!(measurement.content, Content::Size(10_000_000_000));
    }
}

#[test]
fn a_store_to_a_shared_mapping_of_a_settled_file_is_noticed() {
    for block in [Block::Exec, Block::All] {
        for first in [&["store", "/bin/good"][..], &["store", "/bin/good", "first"]] {
            let it = Guarded::new(Mode::Enforce, block);
            // Twice, so that the second run was not asked about.
            assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
            assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
            assert_eq!(it.container.tool(first), EPERM, "{block:?} {first:?}");
        }
    }
}

#[test]
fn audit_mode_never_denies_and_tells_all() {
    let it = Guarded::new(Mode::Audit, Block::All);
    it.container.put(&programs().evil, "/tmp/x");
    it.container.put(&programs().evil, "/bin/good");
    it.container.put(&programs().evil, "/dev/shm/x");
    assert_eq!(it.container.tool(&["write", "/tmp/s", "exit 3\n"]), 0);
    assert_eq!(it.container.tool(&["sparse", "/tmp/big", "10000000000"]), 0);
    for name in ["/tmp/x", "/bin/good", "/dev/shm/x"] {
        assert_eq!(it.container.tool(&["run", name]), 0, "{name}");
        let told = |m: &lacre_types::Measurement, o| {
            m.path == Some(path(name)) && o == Outcome::Watched && content_is(m, &evil())
        };
        it.baseline.wait_for(name, told);
    }
    assert_eq!(it.container.run(&["/bin/sh", "/tmp/s"]), 3);
    it.baseline.wait("/tmp/s");
    assert_eq!(it.container.tool(&["read", "/tmp/big"]), 0);
    assert!(it.baseline.all().iter().all(|(_, outcome)| *outcome == Outcome::Watched));
}

/// Its size is what it was when it was refused, whatever comes of it.
#[test]
fn a_refused_program_that_grows_while_it_is_read_is_told_and_holds_up_no_other() {
    let it = enforce();
    let root = std::path::PathBuf::from(format!("/proc/{}/root", it.container.pid()));
    for name in ["/tmp/one", "/tmp/two"] {
        let size = (60 << 20).to_string();
        assert_eq!(it.container.tool(&["sparse", name, &size]), 0);
        assert_eq!(it.container.tool(&["run", name]), EPERM);
        let file = std::fs::OpenOptions::new().write(true).open(root.join(&name[1..])).unwrap();
        file.set_len(8 << 40).unwrap();
    }
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["run", "/tmp/x"]), EPERM);
    for name in ["/tmp/one", "/tmp/two", "/tmp/x"] {
        assert_eq!(it.baseline.wait(name).1, Outcome::Denied);
    }
}
