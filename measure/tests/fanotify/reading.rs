//! A file that is read is not run, and what an image's file is, its inode says.

use lacre_measure::{Block, Outcome};
use lacre_types::{Measurement, Mode};

use crate::baseline::path;
use crate::container::{Container, compile, programs};
use crate::{Baseline, EPERM, Guarded, Limits, place};

fn enforce_all() -> Guarded {
    Guarded::new(Mode::Enforce, Block::All)
}

fn told(it: &Guarded, name: &str) -> bool {
    it.baseline.all().iter().any(|(m, _): &(Measurement, Outcome)| m.path == Some(path(name)))
}

#[test]
fn what_only_reads_a_file_is_neither_refused_nor_told() {
    let it = enforce_all();
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["write", "/tmp/s.sh", "#!/bin/sh\nexit 0\n"]), 0);
    for name in ["/tmp/x", "/tmp/s.sh"] {
        for reader in ["cat", "md5sum", "wc", "hexdump", "od"] {
            assert_eq!(it.container.run(&["/bin/busybox", reader, name]), 0, "{reader} {name}");
        }
        assert_eq!(it.container.run(&["/bin/busybox", "cmp", name, name]), 0);
        assert_eq!(it.container.run(&["/bin/busybox", "cp", name, "/tmp/copy"]), 0);
        assert_eq!(it.container.run(&["/bin/busybox", "tar", "-cf", "/tmp/t.tar", name]), 0);
        assert_eq!(it.container.tool(&["read", name]), 0);
        assert!(!told(&it, name), "{name}");
    }
    assert_eq!(it.container.run(&["/bin/busybox", "tar", "-xf", "/tmp/t.tar", "-C", "/mnt"]), 0);
    // That it was read does not make it the image's.
    assert_eq!(it.container.tool(&["run", "/tmp/x"]), EPERM);
    assert_ne!(it.container.run(&["/bin/sh", "/tmp/s.sh"]), 0);
    for name in ["/tmp/x", "/tmp/s.sh"] {
        assert_eq!(it.baseline.wait(name).1, Outcome::Denied, "{name}");
    }
}

#[test]
fn an_interpreters_script_is_refused_though_it_was_read_as_data_before() {
    let it = enforce_all();
    assert_eq!(it.container.tool(&["write", "/tmp/s", "exit 0\n"]), 0);
    assert_eq!(it.container.run(&["/bin/busybox", "cat", "/tmp/s"]), 0);
    assert_ne!(it.container.run(&["/bin/sh", "/tmp/s"]), 0);
    assert_eq!(it.baseline.wait("/tmp/s").1, Outcome::Denied);
}

/// A shell goes on behind a line that it does not know.
#[test]
fn a_script_that_begins_like_a_program_is_refused() {
    let it = enforce_all();
    for name in ["/tmp/s", "/tmp/s.sh"] {
        assert_eq!(it.container.tool(&["write", name, "\u{7f}ELF\nexit 0\n"]), 0);
        assert_eq!(it.container.run(&["/bin/busybox", "cat", name]), 0);
        assert_ne!(it.container.run(&["/bin/sh", name]), 0);
        assert_eq!(it.baseline.wait(name).1, Outcome::Denied, "{name}");
    }
}

#[test]
fn which_of_a_files_many_names_runs_the_first_argument_tells() {
    let it = enforce_all();
    assert_eq!(it.container.tool(&["write", "/tmp/s.sh", "#!/bin/sh\nexit 0\n"]), 0);
    let named = |zero: &str| {
        let script = format!("exec -a {zero} /bin/sh /tmp/s.sh");
        it.container.run(&["/bin/sh", "-c", &script])
    };
    // A standalone shell executes itself by /proc/self/exe and is called what it shall do.
    assert_eq!(named("cat"), 0);
    assert!(!told(&it, "/tmp/s.sh"));
    for zero in ["sh", "ash", "-sh", "/x/hush"] {
        assert_ne!(named(zero), 0, "{zero}");
    }
    // A link of another name runs what it is told to.
    assert_eq!(it.container.run(&["/bin/busybox", "ln", "-s", "/bin/busybox", "/tmp/cat"]), 0);
    let script = "exec -a sh /tmp/cat /tmp/s.sh";
    assert_ne!(it.container.run(&["/bin/sh", "-c", script]), 0);
}

#[test]
fn a_library_that_a_loader_opens_is_refused_and_one_that_is_copied_is_not() {
    let container = Container::start(|lower| {
        crate::attacks::dynamic(lower);
        place::copy("/bin/cat", lower.join("bin/cat"));
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, Limits::default());
    let x = it.container.dir.path().join("x.so");
    compile(&x, &["-shared", "-fPIC", "-DNOTE=\"dropped\""]);
    it.container.put(&x, "/tmp/x.so");
    // Linked with the C library, whose open is none of the loader's.
    assert_eq!(it.container.run(&["/bin/cat", "/tmp/x.so"]), 0);
    assert!(!told(&it, "/tmp/x.so"));
    let preload = ["/bin/busybox", "env", "LD_PRELOAD=/tmp/x.so", "/bin/cat", "/data"];
    it.container.run(&preload);
    assert_eq!(it.baseline.wait("/tmp/x.so").1, Outcome::Denied);
}

#[test]
fn an_untouched_file_of_the_image_is_its_own_by_whatever_name() {
    let container = Container::start(|lower| {
        std::fs::create_dir_all(lower.join("jail/bin")).unwrap();
        place::copy(&programs().good, lower.join("jail/bin/good"));
        place::write(&lower.join("bin/odd"), "exit 0\n");
        std::os::unix::fs::symlink("/bin", lower.join("cur")).unwrap();
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, Limits::default());
    let busybox = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        it.container.run(&[&["/bin/busybox"][..], &words].concat())
    };
    assert_eq!(it.container.tool(&["run", "/cur/good"]), 0, "a link in the image");
    assert_eq!(busybox("ln -s /bin /now"), 0);
    assert_eq!(it.container.tool(&["run", "/now/good"]), 0, "a link made later");
    assert_eq!(busybox("chroot /jail /bin/good"), 0, "another root");
    assert_eq!(busybox("mount --bind /bin /mnt"), 0);
    assert_eq!(it.container.tool(&["run", "/mnt/good"]), 0, "a bind mount");
    let nested = "mount --bind /bin /vol && exec /vol/good";
    assert_eq!(it.container.run(&["/bin/busybox", "unshare", "-m", "/bin/sh", "-c", nested]), 0);
    // A script of the image's that nothing lists: it came with it.
    assert_eq!(it.container.run(&["/bin/sh", "/bin/odd"]), 0);
    assert!(it.baseline.all().iter().all(|(_, outcome)| *outcome == Outcome::Ran));
    // And once it was touched its content counts.
    assert_eq!(it.container.tool(&["write", "/bin/odd", "exit 1\n"]), 0);
    assert_ne!(it.container.run(&["/bin/sh", "/bin/odd"]), 1);
}
