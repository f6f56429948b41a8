//! Who only writes a file runs nothing of it, whoever it is; what was written is judged when it
//! is run.

use lacre_measure::fanotify::FanotifyArmed;
use lacre_measure::{Block, Judge as _, Outcome};
use lacre_types::{Measurement, Mode};

use crate::attacks::dynamic;
use crate::baseline::path;
use crate::container::{Container, compile, programs};
use crate::{Baseline, EPERM, Guarded, Limits, place};

const SCRIPT: &str = "#!/bin/sh\nexit 0\n";

/// `O_WRONLY`, and what may come with it; `O_RDONLY` and `O_RDWR`.
const WRONLY: &str = "1";
const APPEND: &str = "2001";
const TRUNCATE: &str = "1101";
const CLOEXEC: &str = "2000001";
const RDONLY: &str = "0";
const RDWR: &str = "2";

/// With a `python3` that opens as it is told to, and a program that is linked with a loader.
fn it() -> Guarded {
    let container = Container::start(|lower| {
        dynamic(lower);
        place::copy(&programs().tool, lower.join("bin/python3"));
        place::write(&lower.join("bin/own.sh"), "#!/bin/sh\nexit 7\n");
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    Guarded::arm(container, baseline, Mode::Enforce, Block::All, Limits::default())
}

fn sh(it: &Guarded, script: &str) -> i32 {
    it.container.run(&["/bin/sh", "-c", script])
}

/// An open by the interpreter.
fn python(it: &Guarded, how: &str, flags: &str, name: &str, text: &[&str]) -> i32 {
    it.container.run(&[&["/bin/python3", "by", how, flags, name], text].concat())
}

/// Whether a violation was told of it.
fn told(it: &Guarded, name: &str) -> bool {
    let is =
        |(m, _): &(Measurement, Outcome)| m.path == Some(path(name)) && !it.baseline.settled(m);
    it.baseline.all().iter().any(is)
}

fn failures(armed: Option<&FanotifyArmed>) -> u64 {
    armed.unwrap().failures().map(|(_, times)| times).sum()
}

#[test]
fn a_shell_writes_what_looks_like_code_and_is_what_the_image_brought() {
    let it = it();
    it.container.put(&programs().evil, "/tmp/evil");
    assert_eq!(sh(&it, "cat /tmp/evil > /tmp/e.tar; /bin/busybox tar -cf /tmp/t.tar /tmp/evil"), 0);
    for name in ["/tmp/s.sh", "/vol/s.sh", "/dev/shm/s.sh", "/bin/own.sh", "/bin/good"] {
        for way in [
            "printf '#!/bin/sh\\nexit 0\\n' > $F",
            "echo : >> $F",
            "cat /tmp/evil > $F",
            "/bin/busybox cp /tmp/evil $F",
            "/bin/busybox dd if=/tmp/evil of=$F conv=notrunc",
            "/bin/busybox tar -xOf /tmp/t.tar tmp/evil > $F",
            "/bin/busybox tee $F < /tmp/evil",
            "/bin/busybox truncate -s 5000 $F",
            "exec 3>> $F; echo : >&3",
        ] {
            assert_eq!(sh(&it, &format!("F={name}; {way}")), 0, "{name}: {way}");
            assert!(!told(&it, name), "{name}: {way}");
        }
        // And it is what it is.
        assert_eq!(sh(&it, &format!("chmod 755 {name}")), 0);
        assert_eq!(it.container.tool(&["run", name]), EPERM, "{name}");
        let denied = |m: &Measurement, o| m.path == Some(path(name)) && o == Outcome::Denied;
        it.baseline.wait_for(name, denied);
    }
    assert_eq!(failures(it.armed.as_ref()), 0);
}

#[test]
fn an_interpreter_writes_by_whatever_system_call_tells_what_it_is_for() {
    let it = it();
    for name in ["/dev/shm/a.py", "/dev/shm/b"] {
        for (how, flags) in [
            ("openat", WRONLY),
            ("openat", APPEND),
            ("openat", TRUNCATE),
            ("openat", CLOEXEC),
            ("open", WRONLY),
            ("creat", ""),
            ("thread", APPEND),
            ("handle", WRONLY),
        ] {
            if how == "open" && cfg!(not(target_arch = "x86_64")) {
                continue;
            }
            assert_eq!(it.container.tool(&["write", name, SCRIPT]), 0);
            let written = python(&it, how, flags, name, &["#!/bin/sh\nexit 1\n"]);
            assert_eq!(written, 0, "{name}: {how} {flags}");
            assert!(!told(&it, name), "{name}: {how} {flags}");
        }
        // Run by the same interpreter it is a violation.
        assert_eq!(it.container.run(&["/bin/python3", "read", name]), EPERM);
        assert_ne!(it.container.run(&["/bin/sh", name]), 0);
        assert_eq!(it.baseline.wait(name).1, Outcome::Denied);
    }
    assert_eq!(failures(it.armed.as_ref()), 0);
}

/// A struct in memory, which another thread changes, and a ring's request, which is in no system
/// call: whoever opens so is taken for who reads, and so is who may read too.
#[test]
fn where_nobody_can_tell_it_is_taken_for_reading() {
    let it = it();
    for (how, flags) in [
        ("openat", RDONLY),
        ("openat", RDWR),
        ("thread", RDWR),
        ("openat2", WRONLY),
        ("ring", WRONLY),
        ("ring-thread", WRONLY),
        ("handle", RDONLY),
    ] {
        let name = format!("/dev/shm/{how}{flags}.py");
        assert_eq!(it.container.tool(&["write", &name, SCRIPT]), 0);
        assert_eq!(python(&it, how, flags, &name, &[]), EPERM, "{how} {flags}");
        assert_eq!(it.baseline.wait(&name).1, Outcome::Denied, "{how} {flags}");
    }
}

/// Its request is carried out by the thread itself, on the way out of a system call whose
/// registers say that it writes.
#[test]
fn a_ring_does_not_read_behind_an_open_that_writes() {
    let it = it();
    for name in ["/tmp/s.py", "/tmp/other.py"] {
        assert_eq!(it.container.tool(&["write", name, SCRIPT]), 0);
    }
    let behind = ["/bin/python3", "behind", "/tmp/s.py", "/tmp/other.py", "200"];
    assert_eq!(it.container.run(&behind), EPERM);
    assert!(!told(&it, "/tmp/other.py"));
}

#[test]
fn what_was_opened_to_write_is_asked_about_when_it_is_opened_to_read() {
    let it = it();
    for name in ["/tmp/s.py", "/vol/s.py", "/dev/shm/s.py"] {
        assert_eq!(it.container.run(&["/bin/python3", "again", name, SCRIPT]), EPERM, "{name}");
        assert_eq!(it.baseline.wait(name).1, Outcome::Denied, "{name}");
    }
}

/// What only wrote it runs it next, or has it run.
#[test]
fn what_was_written_is_not_run_by_who_wrote_it() {
    let it = it();
    let x = it.container.dir.path().join("x.so");
    compile(&x, &["-shared", "-fPIC", "-DNOTE=\"dropped\""]);
    it.container.put(&x, "/tmp/from");
    let scripts = [
        "sh $F",
        ". $F",
        "$F",
        "exec 3>> $F; . /dev/fd/3",
        "exec 3>> $F; sh /proc/self/fd/3",
        "sh -c \"$(cat $F)\" ; . $F",
    ];
    let libraries = [
        "LD_PRELOAD=$F /bin/dynamic",
        "/lib64/ld-linux-x86-64.so.2 $F",
        "LD_AUDIT=$F /bin/dynamic",
    ];
    let write_script = "printf '#!/bin/sh\\n' > $F; echo 'exit 0' >> $F; chmod 755 $F";
    let write_library = "cat /tmp/from > $F; cat /tmp/from > $F";
    let scripts = scripts.map(|run| (write_script, run));
    let libraries = libraries.map(|run| (write_library, run));
    assert_eq!(sh(&it, "mkdir -p /dev; ln -s /proc/self/fd /dev/fd"), 0);
    for (at, (write, run)) in scripts.into_iter().chain(libraries).enumerate() {
        let name = format!("/tmp/{at}.so");
        sh(&it, &format!("F={name}; {write}; {run}; exit 3"));
        let denied = |m: &Measurement, o| m.path == Some(path(&name)) && o == Outcome::Denied;
        it.baseline.wait_for(run, denied);
    }
}
