//! An interpreter that was started on a file is told, with that file or with why nobody can
//! tell which: there is no way to name a script by which it runs in silence. `exec-trace`
//! against real processes; needs root and BPF.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where it must")]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::Image;
use common::guarded::{Guarded, KILLED};
use lacre_measure::Outcome;
use lacre_types::{CanonicalPath, Content, Event, Measurement, Mode};
use rustix::process::{WaitId, WaitIdOptions, waitid};

fn guarded(image: &Image, mode: Mode) -> Guarded {
    let mut it = Guarded::after(image, mode, |container, _| {
        for script in ["opt/bad", "mnt/bad", "mnt/only", "opt/short", "opt/forks", "mnt/middle"] {
            let text = match script {
                "opt/short" => ":\n".to_owned(),
                "opt/forks" => FORKS.to_owned(),
                "mnt/middle" => format!("#!/bin/sh\n{ENDLESS}"),
                _ => ENDLESS.to_owned(),
            };
            let path = format!("/proc/{}/root/{script}", container.init_pid);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    });
    it.container.start("/bin/t each");
    it
}

/// It never ends, so that it is alive to be killed.
const ENDLESS: &str = "while :; do :; done\n";

/// It goes on when who was started on it has ended.
const FORKS: &str = "(while :; do :; done) &\n(while :; do :; done) &\nexit\n";

fn image() -> Image {
    let image = Image::new();
    let lower = image.lower();
    std::fs::create_dir_all(lower.join("mnt/deep")).unwrap();
    // A shell gives it to what it leaves in the background.
    std::fs::create_dir_all(lower.join("dev")).unwrap();
    std::fs::write(lower.join("dev/null"), "").unwrap();
    for own in ["opt/own", "opt/listed"] {
        std::fs::write(lower.join(own), ENDLESS).unwrap();
    }
    for (to, name) in [("/mnt/deep", "opt/link"), ("/proc/self/root/opt", "opt/by-proc")] {
        std::os::unix::fs::symlink(to, lower.join(name)).unwrap();
    }
    let led = lower.join("opt/led");
    std::fs::write(&led, "#!/mnt/middle\n").unwrap();
    std::fs::set_permissions(led, std::fs::Permissions::from_mode(0o755)).unwrap();
    // An image is older than its containers, by more than the clock's tick that dates files.
    let dated = |path: &std::path::Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let later = tempfile::NamedTempFile::new_in(lower.parent().unwrap()).unwrap();
    while dated(later.path()) <= dated(&lower.join("opt/own")) {
        std::fs::write(later.path(), "x").unwrap();
    }
    image
}

fn loader() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "/lib64/ld-linux-x86-64.so.2"
    } else {
        "/lib/ld-linux-aarch64.so.1"
    }
}

fn is_script(found: &Measurement) -> bool {
    found.event == Event::Script
}

#[test]
fn however_a_script_is_named_it_is_found_and_killed() {
    let image = image();
    let loaded = format!("{} /bin/sh /opt/bad", loader());
    for (command, path) in [
        ("/bin/sh /opt/bad", "/opt/bad"),
        ("/bin/sh /proc/self/root/opt/bad", "/opt/bad"),
        ("/bin/sh /proc/self/root/proc/self/root/opt/bad", "/opt/bad"),
        ("/bin/sh /proc/self/cwd/opt/bad", "/opt/bad"),
        ("/bin/sh /proc/self/../self/root/opt/bad", "/opt/bad"),
        ("/bin/sh /proc/self/task/../../1/root/opt/bad", "/opt/bad"),
        ("/bin/sh /opt/by-proc/bad", "/opt/bad"),
        // As the kernel follows it, and not as it is spelt: /opt/bad is another file.
        ("/bin/sh /opt/link/../only", "/mnt/only"),
        ("/bin/t long /bin/sh /opt/bad", "/opt/bad"),
        ("/bin/t deep /bin/sh /opt/bad", "/opt/bad"),
        ("/bin/t with PATH=/nowhere:/mnt /bin/sh only", "/mnt/only"),
        (&loaded, "/opt/bad"),
        ("/bin/t as cat /bin/sh /opt/bad", "/opt/bad"),
    ] {
        let mut it = guarded(&image, Mode::Enforce);
        // A shell that does not search would end before it could be killed.
        it.container.start(command);
        let (found, outcome) = it.judge.wait(is_script);
        // This shell looks along no PATH, and may have ended before its environment was read.
        if command.contains("PATH=") && found.path.is_none() {
            assert!(matches!(found.content, Content::Unread(_)), "{command}: {found:?}");
            continue;
        }
        assert_eq!(found.path, CanonicalPath::new(path).ok(), "{command}: {found:?}");
        assert!(found.digest().is_some(), "{command}");
        if !command.ends_with(" only") {
            assert_eq!(outcome, Outcome::Killed, "{command}");
        }
    }
}

/// Where nobody but the kernel could read what it was given.
#[test]
fn who_ends_at_once_is_told_apart_by_all_of_a_long_command_line() {
    let mut image = image();
    // What it makes of them is nobody's matter: it ends at once.
    common::copy(image.lower().join("bin/t"), image.lower().join("bin/sed"));
    image.allow("/bin/sed");
    let mut it = guarded(&image, Mode::Enforce);
    let text = |length: usize| format!("/bin/sh -ec {}", ":;".repeat(length / 2));
    let files = format!("/bin/sed -n 1p {}", "some/file/of/many ".repeat(400).trim_end());
    for command in [text(100), text(1000), text(3000), text(20_000), files] {
        let length = command.len();
        for _ in 0..100 {
            let status = it.container.each(&command);
            assert!(status == 0 || command.starts_with("/bin/sed"), "{length}: {status}");
        }
    }
    it.container.start("/bin/sh /opt/bad");
    it.judge.wait(|found| found.path == CanonicalPath::new("/opt/bad").ok());
    let unread = |found: &Measurement| matches!(found.content, Content::Unread(_));
    let all = it.judge.all();
    let all: Vec<_> = all.iter().filter(|(found, _)| unread(found)).collect();
    assert!(all.is_empty(), "{all:?}");
}

/// Who reads is held, and 250 wait in the ring.
#[test]
fn many_long_command_lines_overflow_nothing() {
    let image = image();
    let mut it = guarded(&image, Mode::Audit);
    let command = format!("/bin/sh /opt/short {}", "x".repeat(3500));
    let held = it.judge.hold();
    for _ in 0..510 {
        assert_eq!(it.container.each(&command), 0);
    }
    assert_eq!(it.armed.counters().unwrap().lost, 0);
    drop(held);
    assert!(it.judge.losses().is_empty());
}

/// What no content could make the image's is judged by its name and size.
#[test]
fn a_script_is_killed_whatever_others_there_are_to_read() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    let root = format!("/proc/{}/root/opt", it.container.init_pid);
    for number in 0..24 {
        let path = format!("{root}/huge{number}");
        std::fs::write(&path, ENDLESS).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000 << 20).unwrap();
    }
    for number in 0..24 {
        it.container.start(&format!("/bin/t fork /bin/sh /opt/huge{number}"));
    }
    let began = std::time::Instant::now();
    it.container.start("/bin/t fork /bin/sh /opt/bad");
    let (found, outcome) = it.judge.wait_path("/opt/bad");
    assert_eq!(outcome, Outcome::Killed);
    assert!(found.digest().is_some());
    // To read them takes some twelve seconds of two cores.
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
    for number in 0..24 {
        let (found, outcome) = it.judge.wait_path(&format!("/opt/huge{number}"));
        assert_eq!((found.content, outcome), (Content::Size(1000 << 20), Outcome::Killed));
    }
}

/// Makes a character device in the container's `/tmp`.
fn device(it: &Guarded, name: &str, (major, minor): (u32, u32)) {
    use rustix::fs::{CWD, FileType, Mode as Bits, makedev, mknodat};
    let path = format!("/proc/{}/root/tmp/{name}", it.container.init_pid);
    let bits = Bits::from_raw_mode(0o666);
    mknodat(CWD, path, FileType::CharacterDevice, bits, makedev(major, minor)).unwrap();
}

/// Whatever runs the words of a command line, and has not ended.
fn runs(line: &str) -> bool {
    let line = line.replace(' ', "\0") + "\0";
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let read = |name| std::fs::read(process.path().join(name)).unwrap_or_default();
        read("cmdline") == line.as_bytes()
    })
}

#[test]
fn a_script_that_goes_on_in_what_it_forked_is_killed_there() {
    let image = image();
    for _ in 0..10 {
        let mut it = guarded(&image, Mode::Enforce);
        it.container.start("/bin/sh /opt/forks");
        let (found, outcome) = it.judge.wait(is_script);
        assert_eq!((found.path, outcome), (CanonicalPath::new("/opt/forks").ok(), Outcome::Killed));
        assert!(!runs("/bin/sh /opt/forks"));
    }
}

/// Who forks faster than anybody looks is ended where it forks.
#[test]
fn a_script_that_runs_away_by_forks_is_ended() {
    let mut image = image();
    common::compile("chain.c", &image.lower().join("bin/perl"), &["-static"]);
    image.allow("/bin/perl");
    for _ in 0..10 {
        let mut it = guarded(&image, Mode::Enforce);
        it.container.start("/bin/perl /opt/bad");
        let (found, outcome) = it.judge.wait(is_script);
        assert_eq!((found.path, outcome), (CanonicalPath::new("/opt/bad").ok(), Outcome::Killed));
        assert!(!runs("/bin/perl /opt/bad"));
    }
}

/// The file that was executed is the image's own, and its `#!` leads to a script that is not.
#[test]
fn a_script_that_a_first_line_leads_to_is_found_and_killed() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    it.container.start("/opt/led");
    let (found, outcome) = it.judge.wait(is_script);
    assert_eq!(found.path, CanonicalPath::new("/mnt/middle").ok(), "{found:?}");
    assert_eq!(outcome, Outcome::Killed);
}

/// What its mount namespace calls so is not what the container's does. It ends at once, whenever
/// somebody looks.
#[test]
fn a_script_of_another_namespace_is_never_taken_for_the_images_own() {
    let mut image = image();
    image.allow("/opt/listed");
    let own = common::digest_of(&image.lower().join("opt/listed"));
    for _ in 0..20 {
        let mut it = guarded(&image, Mode::Audit);
        it.container.start("/bin/t rebound /opt/short /opt/listed /bin/sh /opt/listed");
        it.container.finish();
        let (found, _) = it.judge.wait(is_script);
        assert_ne!(found.digest(), Some(&own), "{found:?}");
    }
}

#[test]
fn a_file_that_a_shell_reads_before_its_commands_is_a_script() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    // No shell that knows it: what it is told to read it does not.
    it.container.start("/bin/t as bash /bin/sh --rcfile /opt/bad");
    let (found, _) = it.judge.wait(is_script);
    assert_eq!(found.path, CanonicalPath::new("/opt/bad").ok(), "{found:?}");
}

#[test]
fn a_script_that_nobody_can_find_is_told_as_one_that_was_not_read() {
    let image = image();
    for command in [
        // Relative to a directory that has no name any more, and to one whose name is cut.
        "/bin/t deep /bin/sh bad",
        // A pipe gives its bytes once, and so does a terminal.
        "/bin/sh /tmp/pipe",
        "/bin/sh /tmp/tty",
        "/bin/t as bash /bin/sh --rcfile /tmp/tty",
    ] {
        let mut it = guarded(&image, Mode::Enforce);
        let pipe = it.container.upper("/tmp/pipe");
        std::fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(format!("/proc/{}/root/tmp/pipe", it.container.init_pid))
            .status();
        assert!(made.unwrap().success());
        device(&it, "tty", (5, 0));
        it.container.start(command);
        let (found, _) = it.judge.wait(is_script);
        assert!(matches!(found.content, Content::Unread(_)), "{command}: {found:?}");
    }
}

/// What it was called is all that is left of it, and that a rule may know.
#[test]
fn a_script_that_is_gone_is_told_by_its_name() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    // Whoever could look for it is busy with these two.
    let held = it.judge.hold();
    for _ in 0..2 {
        it.container.each("/bin/sh /opt/short");
    }
    let gone = format!("/proc/{}/root/opt/gone", it.container.init_pid);
    std::fs::write(&gone, ":\n").unwrap();
    it.container.each("/bin/sh /opt/gone");
    std::fs::remove_file(&gone).unwrap();
    drop(held);
    let is_gone = |found: &Measurement| matches!(found.content, Content::Unread(_));
    let (found, outcome) = it.judge.wait(is_gone);
    assert_eq!(found.path, CanonicalPath::new("/opt/gone").ok(), "{found:?}");
    assert_eq!(outcome, Outcome::Ended, "nobody was left to be killed");
}

/// A descriptor of somebody's who has ended: no folder's date tells that it was there.
#[test]
fn a_script_that_went_with_its_process_is_told_as_one_that_was_not_read() {
    let image = image();
    let mut it = guarded(&image, Mode::Audit);
    it.container.start("/bin/sh /proc/4000000/fd/5");
    it.container.finish();
    let (found, _) = it.judge.wait(is_script);
    assert!(matches!(found.content, Content::Unread(_)), "{found:?}");
}

/// One file of many names runs a script by any of those that read one.
#[test]
fn whatever_a_busybox_reads_its_code_from_is_a_script() {
    let mut image = image();
    let lower = image.lower();
    let busybox = lacre_integration::paths::cached("tools/bin/busybox").unwrap();
    std::fs::copy(busybox, lower.join("bin/busybox")).unwrap();
    image.allow("/bin/busybox");
    for command in [
        "/bin/busybox sed -f /opt/bad",
        "/bin/t as sed /bin/busybox -f /opt/bad",
        "/bin/t as awk /bin/busybox -f /opt/bad",
        "/bin/t as ash /bin/busybox /opt/bad",
        "/bin/t as busybox-x /bin/busybox sh /opt/bad",
        "/bin/t as -busybox.static /bin/busybox busybox busybox busybox busybox /a/sh /opt/bad",
    ] {
        let mut it = guarded(&image, Mode::Audit);
        it.container.start(command);
        let (found, _) = it.judge.wait(is_script);
        assert_eq!(found.path, CanonicalPath::new("/opt/bad").ok(), "{command}: {found:?}");
    }
}

/// A loader runs a program whatever that is called, and calls it as it is told.
#[test]
fn whatever_a_loader_is_told_to_run_is_known_by_its_file() {
    let mut image = image();
    let lower = image.lower();
    let busybox = lacre_integration::paths::cached("tools/bin/busybox").unwrap();
    std::fs::copy(busybox, lower.join("bin/busybox")).unwrap();
    image.allow("/bin/busybox");
    let loader = loader();
    for command in [
        format!("/bin/t rebound /bin/sh /opt/own {loader} /opt/own /opt/bad"),
        format!("{loader} /opt/linked /opt/bad"),
        format!("{loader} --inhibit-cache --glibc-hwcaps-prepend x /opt/copied /opt/bad"),
        format!("{loader} --argv0 sh /bin/busybox /opt/bad"),
        format!("{loader} --argv0 busybox.x /bin/busybox ash /opt/bad"),
    ] {
        let mut it = guarded(&image, Mode::Audit);
        let root = format!("/proc/{}/root", it.container.init_pid);
        std::fs::hard_link(format!("{root}/bin/sh"), format!("{root}/opt/linked")).unwrap();
        common::copy(format!("{root}/bin/sh"), format!("{root}/opt/copied"));
        it.container.start(&command);
        let (found, _) = it.judge.wait(is_script);
        assert_eq!(found.path, CanonicalPath::new("/opt/bad").ok(), "{command}: {found:?}");
    }
}

/// More than the kernel tells of, of who has ended before anybody could read the rest: which file
/// it ran nobody knows, and nobody is left to be ended for it.
#[test]
fn who_ended_behind_more_options_than_are_told_is_told_as_ended() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    let held = it.judge.hold();
    for _ in 0..2 {
        it.container.each("/bin/sh /opt/short");
    }
    it.judge.until_came(2);
    it.container
        .each(&format!("/bin/sh {}/opt/short", format!("-{} ", "e".repeat(60)).repeat(100)));
    drop(held);
    let unread = |found: &Measurement| matches!(found.content, Content::Unread(_));
    let (found, outcome) = it.judge.wait(unread);
    assert_eq!((found.path, outcome), (None, Outcome::Ended));
}

/// By the time somebody looks, the interpreter has ended, and with it the container.
#[test]
fn a_script_is_found_though_everybody_has_ended() {
    let image = image();
    for mode in [Mode::Audit, Mode::Enforce] {
        for _ in 0..20 {
            let mut it = guarded(&image, mode);
            it.container.start("/bin/sh /opt/short");
            it.container.finish();
            let (found, _) = it.judge.wait(is_script);
            assert_eq!(found.path, CanonicalPath::new("/opt/short").ok(), "{found:?}");
            assert!(found.digest().is_some(), "{found:?}");
        }
    }
}

/// Whoever started it has yet to take its status: it takes signals, and nobody is hit by them.
#[test]
fn a_script_that_ran_to_its_end_is_not_told_as_killed() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    let mut entered = {
        let _held = it.judge.hold();
        // As many as there are threads that look: each has killed, and waits to tell it.
        for _ in 0..2 {
            assert_eq!(it.container.each("/bin/sh /opt/bad"), KILLED);
        }
        it.judge.until_came(2);
        let init = it.container.init_pid.to_string();
        let mut enter = std::process::Command::new("nsenter");
        let entered = enter.args(["-m", "-t", &init, "/bin/sh", "/opt/short"]).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&entered);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), ended).unwrap();
        entered
    };
    let short = CanonicalPath::new("/opt/short").ok();
    let (_, outcome) = it.judge.wait(|found| is_script(found) && found.path == short);
    assert_eq!(outcome, Outcome::Ended);
    entered.wait().unwrap();
}

#[test]
fn what_was_never_there_is_nobodys_violation() {
    let image = image();
    let mut it = guarded(&image, Mode::Enforce);
    std::fs::create_dir_all(it.container.upper("/tmp")).unwrap();
    device(&it, "null", (1, 3));
    for command in [
        "/bin/sh /opt/missing",
        "/bin/sh /nowhere/missing",
        "/bin/sh /dev/null",
        "/bin/sh /tmp/null",
    ] {
        it.container.each(command);
    }
    it.container.start("/bin/sh /opt/bad");
    it.judge.wait(is_script);
    let all = it.judge.all();
    assert_eq!(all.iter().filter(|(found, _)| is_script(found)).count(), 1, "{all:?}");
}

/// Whether it is listed or nothing of it says that it is a script, so that no baseline lists it: it
/// came with the image, whatever leads to it.
#[test]
fn the_images_own_is_nobodys_violation_whatever_it_looks_like() {
    let mut image = image();
    image.allow("/opt/listed");
    for own in [
        "/bin/sh /opt/own",
        "/bin/sh /proc/1/root/opt/own",
        "/bin/t rebound /opt /mnt /bin/sh /mnt/own",
        "/bin/t rebound /opt /mnt /bin/sh /mnt/listed",
    ] {
        let mut it = guarded(&image, Mode::Enforce);
        it.container.start(own);
        let runs = || {
            std::fs::read_to_string(format!("/proc/{}/task/{0}/children", it.container.init_pid))
        };
        while runs().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let child: i32 = runs().unwrap().trim().parse().unwrap();
        let runs_sh = || std::fs::read(format!("/proc/{child}/cmdline")).unwrap();
        while !runs_sh().starts_with(b"/bin/sh") {
            std::thread::yield_now();
        }
        // What is told in its order: once this is, the other has been looked at.
        it.container.enter("/bin/sh /opt/bad");
        it.judge.wait(|found| found.path == CanonicalPath::new("/opt/bad").ok());
        // Nothing is told of one that no baseline lists, and of another that it ran.
        let all = it.judge.all();
        let stopped = all.iter().filter(|(found, outcome)| {
            is_script(found) && (*outcome != Outcome::Ran || found.digest().is_none())
        });
        assert_eq!(stopped.count(), 1, "{own}: {all:?}");
        assert!(std::fs::metadata(format!("/proc/{child}")).is_ok(), "{own}: it was killed");
    }
}
