//! A file of the baseline that was changed is a violation of who runs it, and of nobody who reads
//! or writes it.

use lacre_measure::{Block, Judge as _, Outcome};
use lacre_types::{Content, Measurement, Mode};

use crate::attacks::dynamic;
use crate::baseline::{path, sha256};
use crate::container::{Container, compile, programs};
use crate::{Baseline, Guarded, Limits, place};

const LIBRARY: &str = "/lib/x86_64-linux-gnu/libc.so.6";

/// With scripts and libraries that the baseline lists; the last one otherwise than the image has
/// it.
fn it_in(mode: Mode) -> Guarded {
    let container = Container::start(|lower| {
        dynamic(lower);
        place::copy(&programs().tool, lower.join("bin/python3"));
        place::copy(&programs().tool, lower.join("bin/perl"));
        place::copy("/bin/cat", lower.join("bin/cat"));
        for name in ["own.sh", "odd", "own.py", "other"] {
            place::write(&lower.join("bin").join(name), "#!/bin/sh\nexit 7\n");
        }
        compile(&lower.join("lib/own.so"), &["-shared", "-fPIC", "-DNOTE=\"own\""]);
    });
    let baseline =
        Baseline::of(&container.lower(), mode).list("/bin/other", 9, sha256(b"something"));
    Guarded::arm(container, baseline, mode, Block::All, Limits::default())
}

fn it() -> Guarded {
    it_in(Mode::Enforce)
}

fn sh(it: &Guarded, script: &str) -> i32 {
    it.container.run(&["/bin/sh", "-c", script])
}

/// Whether a violation was told of it.
fn told(it: &Guarded, name: &str) -> bool {
    let is =
        |(m, _): &(Measurement, Outcome)| m.path == Some(path(name)) && !it.baseline.settled(m);
    it.baseline.all().iter().any(is)
}

/// Changes each by another way: in its size, not in its size, by a new inode.
fn change(it: &Guarded) {
    for way in [
        "echo 'exit 0' >> /bin/own.sh",
        "printf 'exit 0' | /bin/busybox dd of=/bin/odd bs=1 seek=10 conv=notrunc",
        "/bin/busybox sed -i s/7/8/ /bin/own.py",
        "printf x | /bin/busybox dd of=/lib/own.so bs=1 seek=900 conv=notrunc",
        "cat /bin/dynamic > /tmp/new; chmod 755 /tmp/new; mv /tmp/new /bin/good",
        "echo 'exit 0' >> /bin/other",
    ] {
        assert_eq!(sh(it, way), 0, "{way}");
    }
}

const CHANGED: [&str; 6] =
    ["/bin/own.sh", "/bin/odd", "/bin/own.py", "/lib/own.so", "/bin/good", "/bin/other"];

#[test]
fn who_only_reads_it_is_neither_refused_nor_told() {
    for mode in [Mode::Enforce, Mode::Audit] {
        let it = it_in(mode);
        change(&it);
        for name in CHANGED {
            for reader in ["cat", "md5sum", "wc", "od", "head"] {
                assert_eq!(it.container.run(&["/bin/busybox", reader, name]), 0, "{reader} {name}");
            }
            // A program that is linked with the C library, and one that is not.
            assert_eq!(it.container.run(&["/bin/cat", name]), 0, "{name}");
            assert_eq!(it.container.tool(&["read", name]), 0, "{name}");
            for command in [
                &["grep", "-c", "", name][..],
                &["cmp", name, name],
                &["cp", name, "/tmp/copy"],
                &["tar", "-cf", "/tmp/t.tar", name],
                &["sed", "-i", "s/9/8/", name],
            ] {
                let ran = it.container.run(&[&["/bin/busybox"], command].concat());
                assert_eq!(ran, 0, "{command:?}");
            }
            assert!(!told(&it, name), "{mode:?} {name}: {:#?}", it.baseline.all());
        }
        let all = it.armed.as_ref().unwrap().failures();
        assert_eq!(all.map(|(_, times)| times).sum::<u64>(), 0);
    }
}

/// An interpreter that reads what is none of its own: a backup, a checker of packages.
#[test]
fn an_interpreter_reads_a_changed_program_or_library() {
    let it = it();
    change(&it);
    for name in ["/lib/own.so", "/bin/good"] {
        for reader in ["/bin/python3", "/bin/perl"] {
            assert_eq!(it.container.run(&[reader, "read", name]), 0, "{reader} {name}");
        }
        assert!(!told(&it, name), "{name}");
    }
}

/// Nor does it matter that another has it open to write, when it can't be verified.
#[test]
fn who_reads_it_beside_a_writer_is_not_refused() {
    let it = it();
    change(&it);
    for name in CHANGED {
        let script = format!("exec 3>> {name}; /bin/busybox cat {name}; /bin/busybox wc {name}");
        assert_eq!(sh(&it, &script), 0, "{name}");
        assert!(!told(&it, name), "{name}");
    }
}

#[test]
fn who_runs_it_is_refused_by_whatever_means() {
    for (run, name) in [
        ("/bin/own.sh", "/bin/own.sh"),
        ("sh /bin/own.sh", "/bin/own.sh"),
        (". /bin/own.sh", "/bin/own.sh"),
        (". /bin/odd", "/bin/odd"),
        ("sh /bin/odd", "/bin/odd"),
        (". /bin/other", "/bin/other"),
        ("/bin/python3 read /bin/own.py", "/bin/own.py"),
        ("/bin/python3 read /bin/odd", "/bin/odd"),
        ("/bin/perl read /bin/odd", "/bin/odd"),
        ("LD_PRELOAD=/lib/own.so /bin/dynamic", "/lib/own.so"),
        ("/lib64/ld-linux-x86-64.so.2 /bin/good", "/bin/good"),
        ("/bin/good", "/bin/good"),
    ] {
        let it = it();
        change(&it);
        // It is read in between, which makes it nobody's.
        assert_eq!(it.container.run(&["/bin/busybox", "cat", name]), 0);
        let last = format!("{run}; exit 3");
        sh(&it, &last);
        let denied = |m: &Measurement, o| m.path == Some(path(name)) && o == Outcome::Denied;
        let (measurement, _) = it.baseline.wait_for(run, denied);
        assert!(matches!(measurement.content, Content::Digest(_)), "{run}: {measurement:?}");
    }
}

/// By its content it can't be told from data any more: what the image's own scripts source is
/// code all the same.
#[test]
fn what_is_listed_is_code_to_an_interpreter_whatever_it_holds_now() {
    for (change, run, name) in [
        ("printf 'exit 0' > /bin/odd", ". /bin/odd", "/bin/odd"),
        ("printf 'a,b' > /bin/odd", "/bin/python3 read /bin/odd", "/bin/odd"),
        // Emptied, and filled once it is open.
        (": > /bin/odd", ". /bin/odd", "/bin/odd"),
        (": > /bin/good", ". /bin/good", "/bin/good"),
        (": > /lib/own.so", "LD_PRELOAD=/lib/own.so /bin/dynamic", "/lib/own.so"),
        // A shell goes on behind the first line.
        ("printf '\\177ELF\\nexit 0\\n' > /bin/odd", ". /bin/odd", "/bin/odd"),
        ("printf '\\177ELF\\nexit 0\\n' > /bin/own.sh", "sh /bin/own.sh", "/bin/own.sh"),
        ("printf 'text' > /lib/own.so", "LD_PRELOAD=/lib/own.so /bin/dynamic", "/lib/own.so"),
    ] {
        let it = it();
        assert_eq!(sh(&it, change), 0, "{change}");
        assert_eq!(it.container.run(&["/bin/busybox", "cat", name]), 0, "{change}");
        sh(&it, &format!("{run}; exit 3"));
        let denied = |m: &Measurement, o| m.path == Some(path(name)) && o == Outcome::Denied;
        it.baseline.wait_for(change, denied);
    }
}

/// What was only touched is the image's own: who reads it, and who runs it.
#[test]
fn what_changed_only_in_its_metadata_is_read_and_run() {
    let it = it();
    for name in [LIBRARY, "/bin/own.sh", "/bin/good", "/bin/dynamic", "/lib/own.so"] {
        assert_eq!(it.container.run(&["/bin/busybox", "chown", "7:7", name]), 0);
        assert_eq!(it.container.run(&["/bin/busybox", "cat", name]), 0);
    }
    assert_eq!(it.container.run(&["/bin/sh", "/bin/own.sh"]), 7);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    assert_eq!(it.container.tool(&["run", "/bin/dynamic"]), 0);
    assert_eq!(sh(&it, "LD_PRELOAD=/lib/own.so /bin/dynamic"), 0);
    assert_ne!(it.container.tool(&["store", "/bin/good", "first"]), 0);
}
