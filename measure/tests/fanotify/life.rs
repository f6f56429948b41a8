//! Deadlines, writers, and the end.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_measure::fanotify::{Limits, arm};
use lacre_measure::{Answer, Block, Judge, Loss, Outcome};
use lacre_types::{Content, Measurement, Mode, Source};

use crate::baseline::sha256;
use crate::container::{Container, programs};
use crate::{Baseline, EPERM, Guarded, place};

const HUGE: u64 = 20_000_000_000;

/// A listed file that takes 20 s to read.
fn huge(mode: Mode, limits: Limits) -> Guarded {
    let container = Container::start(|_| ());
    let baseline = Baseline::of(&container.lower(), mode).list("/tmp/huge", HUGE, sha256(b"never"));
    let limits = Limits { verify_bytes: HUGE, ..limits };
    let it = Guarded::arm(container, baseline, mode, Block::Exec, limits);
    assert_eq!(it.container.tool(&["sparse", "/tmp/huge", &HUGE.to_string()]), 0);
    it
}

fn soon() -> Limits {
    Limits { deadline: Duration::from_millis(300), ..Limits::default() }
}

#[test]
fn the_deadline_denies_in_enforce_and_tells_in_audit() {
    for mode in [Mode::Enforce, Mode::Audit] {
        let it = huge(mode, soon());
        let from = Instant::now();
        let status = it.container.tool(&["run", "/tmp/huge"]);
        let took = from.elapsed();
        assert!((300..2000).contains(&took.as_millis()), "{took:?}");
        let (measurement, outcome) = it.baseline.wait("/tmp/huge");
        assert!(matches!(measurement.content, Content::Unread(_)), "{measurement:?}");
        // In audit mode it is executed, and is no program (ENOEXEC).
        let (want, answer) = match mode {
            Mode::Enforce => (EPERM, Outcome::Denied),
            Mode::Audit => (8, Outcome::Watched),
        };
        assert_eq!((status, outcome), (want, answer));
        assert_eq!(it.failures("deadline"), 1);
    }
}

#[test]
fn more_that_wait_than_there_is_room_for_are_denied_at_once() {
    let it = huge(Mode::Enforce, Limits { waiting: 4, ..soon() });
    assert_eq!(it.container.tool(&["retry", "/tmp/huge", "20"]), 0);
    // The kernel is answered first, and then it is counted.
    let until = Instant::now() + Duration::from_secs(10);
    while it.failures("queue-full") + it.failures("deadline") < 20 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    assert!(it.failures("queue-full") >= 10, "{}", it.failures("queue-full"));
    assert!(it.failures("deadline") >= 4);
}

/// Whether no group of this process has a question that was not read yet: one that is in the
/// kernel when the group goes is nobody's to tell.
fn all_questions_are_read() -> bool {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    std::fs::read_dir("/proc/self/fd").unwrap().flatten().all(|entry| {
        let link = std::fs::read_link(entry.path()).unwrap_or_default();
        if link.as_os_str() != "anon_inode:[fanotify]" {
            return true;
        }
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap();
        let group = pidfd_getfd(&own, number, PidfdGetfdFlags::empty());
        // Another test's, gone meanwhile.
        group.map_or(true, |group| rustix::io::ioctl_fionread(group).unwrap() == 0)
    })
}

#[test]
fn disarming_holds_nobody_and_lets_nothing_run_that_was_not_read() {
    let patient = Limits { deadline: Duration::from_secs(60), ..Limits::default() };
    let mut it = huge(Mode::Enforce, patient);
    let mut waiting: Vec<_> =
        (0..20).map(|_| it.container.spawn(&["/bin/tool", "run", "/tmp/huge"])).collect();
    // They are in flight when the kernel has asked about the last one of them.
    let in_exec = |pid: u32| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children.ok().and_then(|c| c.trim().parse::<u32>().ok());
        child.is_some_and(|child| {
            std::fs::read_to_string(format!("/proc/{child}/wchan"))
                .is_ok_and(|wchan| wchan.contains("fanotify"))
        })
    };
    let until = Instant::now() + Duration::from_secs(15);
    while !waiting.iter().all(|child| in_exec(child.id())) || !all_questions_are_read() {
        assert!(Instant::now() < until, "not all of them wait");
        std::thread::yield_now();
    }
    let from = Instant::now();
    drop(it.armed.take());
    for child in &mut waiting {
        assert_eq!(child.wait().unwrap().code(), Some(EPERM));
    }
    assert!(from.elapsed() < Duration::from_secs(1), "{:?}", from.elapsed());
    assert!(it.baseline.all().iter().filter(|(_, o)| *o == Outcome::Denied).count() >= 20);
    assert_eq!(it.baseline.lost_any(), []);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
}

#[test]
fn right_content_that_somebody_can_still_change_is_not_allowed() {
    for (name, from) in [("/bin/good", None), ("/vol/good", Some("/bin/good"))] {
        let container = Container::start(|_| ());
        let good = std::fs::read(&programs().good).unwrap();
        let baseline = Baseline::of(&container.lower(), Mode::Enforce).list(
            "/vol/good",
            good.len() as u64,
            sha256(&good),
        );
        let limits = Limits::default();
        let it = Guarded::arm(container, baseline, Mode::Enforce, Block::Exec, limits);
        if let Some(from) = from {
            assert_eq!(it.container.tool(&["copy", from, name]), 0);
        }
        assert_eq!(it.container.tool(&["run", name]), 0, "{name}");
        let mut holder = it.container.spawn(&["/bin/tool", "hold", name]);
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        assert_ne!(it.container.tool(&["run", name]), 0, "{name}");
        if name == "/bin/good" {
            // On a plain file system the kernel itself refuses before we do (ETXTBSY).
            assert_eq!(it.failures("writer"), 1, "{name}");
        }
        drop(holder.stdin.take());
        assert!(holder.wait().unwrap().success());
        assert_eq!(it.container.tool(&["run", name]), 0, "{name}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_allowed_by_what_it_was() {
    let size = 300_u64 << 20;
    let container = Container::start(|_| ());
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    bytes[..4].copy_from_slice(b"\x7fELF");
    let baseline =
        Baseline::of(&container.lower(), Mode::Enforce).list("/vol/big", size, sha256(&bytes));
    let volume = container.volume().join("big");
    place::write(&volume, &bytes);
    let patient = Limits { deadline: Duration::from_secs(60), ..Limits::default() };
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::Exec, patient);
    let from = Instant::now();
    // The right content is allowed, and is no program.
    assert_eq!(it.container.tool(&["run", "/vol/big"]), 8);
    let reading = from.elapsed();
    let runner = it.container.spawn(&["/bin/tool", "run", "/vol/big"]);
    std::thread::sleep(reading / 2);
    // A writer that comes now waits until it is read.
    let from = Instant::now();
    let opened = std::fs::OpenOptions::new().write(true).open(&volume).unwrap();
    let waited = from.elapsed();
    let status = runner.wait_with_output().unwrap().status.code();
    drop(opened);
    // Allowed as what it was, and then either executed or busy (ETXTBSY).
    assert!(matches!(status, Some(8 | 26)), "{status:?}");
    assert!(waited < reading * 3 + Duration::from_secs(1), "{waited:?} of {reading:?}");
}

#[test]
fn the_hosts_own_processes_are_neither_asked_nor_told() {
    let it = Guarded::new(Mode::Enforce, Block::All);
    it.container.put(&programs().evil, "/tmp/x");
    let inside = format!("/proc/{}/root/tmp/x", it.container.pid());
    let before = it.baseline.all().len();
    assert!(std::process::Command::new(&inside).status().unwrap().success());
    assert!(std::fs::read(&inside).unwrap().starts_with(b"\x7fELF"));
    assert_eq!(it.baseline.all().len(), before);
}

#[test]
fn other_roots_than_an_overlay_are_watched_too() {
    let bind = "mount --bind lower root";
    let tmpfs = "mount -t tmpfs tmpfs root; cp -a lower/. root";
    for mount in [bind, tmpfs] {
        let container = Container::with(mount, |_| ());
        let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
        let target = lacre_measure::Target {
            upper: None,
            lower: Vec::new(),
            ..container.target(baseline.clone(), Mode::Enforce, Block::Exec)
        };
        let _armed = arm(&target, baseline.clone()).unwrap();
        for _ in 0..2 {
            assert_eq!(container.tool(&["run", "/bin/good"]), 0, "{mount}");
        }
        container.put(&programs().evil, "/tmp/x");
        assert_eq!(container.tool(&["run", "/tmp/x"]), EPERM, "{mount}");
        assert_eq!(container.tool(&["store", "/bin/good"]), EPERM, "{mount}");
        assert_eq!(container.tool(&["run", "/bin/good"]), EPERM, "{mount}");
    }
}

#[test]
fn a_container_in_the_hosts_mount_namespace_is_refused() {
    let container = Container::start(|_| ());
    let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
    let mut target = container.target(baseline.clone(), Mode::Enforce, Block::Exec);
    target.init_pid = std::process::id();
    let error = arm(&target, baseline.clone()).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("mount namespace of its own"), "{why}");
    // One that is gone by now is an error, not a guard over nothing.
    target.init_pid = 0x3fff_fff0;
    assert!(arm(&target, baseline).is_err());
}

#[test]
fn the_end_of_the_init_lets_go_of_its_mounts() {
    let mut it = Guarded::new(Mode::Enforce, Block::All);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    it.baseline.wait("/bin/good");
    assert!(holds(it.container.dev, None) > 0);
    it.container.kill();
    lets_go(it.container.dev, None);
}

#[test]
fn a_deleted_file_does_not_keep_its_space_and_data_is_not_held_at_all() {
    let container = Container::start(|_| ());
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let limits = Limits { sweep: Duration::from_millis(50), ..Limits::default() };
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, limits);
    assert_eq!(it.container.tool(&["write", "/tmp/d", "data"]), 0);
    assert_eq!(it.container.tool(&["read", "/tmp/d"]), 0);
    // A program of the image's that was copied up: of it and nothing else.
    assert_eq!(it.container.run(&["/bin/busybox", "chown", "7:7", "/bin/good"]), 0);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    it.baseline.wait("/bin/good");
    let size = std::fs::metadata(&programs().good).unwrap().len();
    assert!(holds(it.container.dev, Some(size)) > 0);
    lets_go(it.container.dev, Some(4));
    assert_eq!(it.container.run(&["/bin/busybox", "rm", "/bin/good"]), 0);
    lets_go(it.container.dev, Some(size));
}

/// Workloads open their data as they like, whoever has read it before.
#[test]
fn no_open_of_data_fails_or_waits_because_it_was_looked_at() {
    let container = Container::start(|lower| std::fs::write(lower.join("conf"), "a=b\n").unwrap());
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, Limits::default());
    for name in ["/conf", "/tmp/new", "/vol/new", "/dev/shm/new"] {
        if name != "/conf" {
            assert_eq!(it.container.tool(&["write", name, "a=b\n"]), 0);
        }
        for _ in 0..2 {
            assert_eq!(it.container.tool(&["read", name]), 0, "{name}");
            for how in ["append", "truncate", "rdwr", "path", "truncate-by-name"] {
                assert_eq!(it.container.tool(&["nonblock", name, how]), 0, "{name} {how}");
            }
        }
    }
    assert_eq!(it.baseline.all().iter().filter(|(_, o)| *o == Outcome::Denied).count(), 0);
}

/// How many files of that device, and of that size if one is given, this process has open.
fn holds(dev: u64, size: Option<u64>) -> usize {
    use std::os::unix::fs::MetadataExt;
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let of = |meta: &std::fs::Metadata| {
        meta.is_file() && meta.dev() == dev && size.is_none_or(|size| meta.len() == size)
    };
    open.filter(|entry| std::fs::metadata(entry.path()).is_ok_and(|meta| of(&meta))).count()
}

fn lets_go(dev: u64, size: Option<u64>) {
    let until = Instant::now() + Duration::from_secs(10);
    while holds(dev, size) > 0 {
        assert!(Instant::now() < until, "a settled file is still open");
        std::thread::yield_now();
    }
}

#[test]
fn settled_files_are_bounded_and_one_goes_for_each_that_comes() {
    let container = Container::start(|lower| {
        for n in 0..8 {
            place::copy(&programs().good, lower.join(format!("bin/g{n}")));
        }
    });
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let limits = Limits { settled: 4, ..Limits::default() };
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::Exec, limits);
    for _ in 0..2 {
        for n in 0..8 {
            assert_eq!(it.container.tool(&["run", &format!("/bin/g{n}")]), 0);
        }
    }
    // One that is looked at is held until it has its answer, too.
    let until = Instant::now() + std::time::Duration::from_secs(20);
    while holds(it.container.dev, None) > 4 {
        assert!(Instant::now() < until, "more files are held than may be settled");
        std::thread::yield_now();
    }
    drop(it.armed);
    let own = |(m, _): &&(lacre_types::Measurement, Outcome)| {
        m.path.as_ref().is_some_and(|path| path.as_bytes().starts_with(b"/bin/g"))
    };
    // Each once, and of the second time those that had no room.
    assert!((12..=16).contains(&it.baseline.all().iter().filter(own).count()));
}

/// A judge that breaks down.
struct Broken(Arc<Baseline>);

impl Judge for Broken {
    fn judge(&self, _: &Measurement) -> Answer {
        panic!("on purpose")
    }
    fn seen(&self, _: Measurement, _: Outcome) {}
    fn lost(&self, source: Source, loss: Loss) {
        self.0.lost(source, loss);
    }
}

#[test]
fn a_responder_that_dies_holds_nobody_and_says_so() {
    let container = Container::start(|_| ());
    let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
    let target = container.target(baseline.clone(), Mode::Enforce, Block::Exec);
    let _armed = arm(&target, Arc::new(Broken(Arc::clone(&baseline)))).unwrap();
    // The one that it was asked about is denied; the next meets no group any more.
    assert_ne!(container.tool(&["run", "/bin/good"]), 0);
    let until = Instant::now() + Duration::from_secs(10);
    while baseline.lost_any().is_empty() {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    assert!(matches!(&baseline.lost_any()[..], [Loss::Ended(_)]));
    assert_eq!(container.tool(&["run", "/bin/good"]), 0);
}

/// A mount of the host's that goes with the test.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An overlay shows a file of each of its layers' file systems under another device than its
/// root, and by none of them may it be told what a file is.
#[test]
fn an_overlay_over_several_file_systems_is_one() {
    let mut mounted = None;
    let mut container = Container::start(|lower| {
        // What EROFS and block devices do: a layer with a file system of its own.
        let image = lower.with_file_name("image");
        let script = "truncate -s 64M \"$1\" && mkfs.ext4 -q -d \"$0\" \"$1\" && \
                      mount -o loop \"$1\" \"$0\"";
        let mut made = std::process::Command::new("sh");
        assert!(made.args(["-c", script]).arg(lower).arg(image).status().unwrap().success());
        mounted = Some(Mounted(lower.to_owned()));
    });
    let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
    for block in [Block::Exec, Block::All] {
        let target = container.target(baseline.clone(), Mode::Enforce, block);
        let armed = arm(&target, baseline.clone()).unwrap();
        let file = std::fs::metadata(format!("/proc/{}/root/bin/good", container.pid())).unwrap();
        assert_ne!(std::os::unix::fs::MetadataExt::dev(&file), container.dev);
        // As it came it is known, and not read.
        assert_eq!(container.tool(&["run", "/bin/good"]), 0, "{block:?}");
        let chown = ["/bin/busybox", "chown", "7:7", "/bin/good"];
        assert_eq!(container.run(&chown), 0);
        assert_eq!(container.tool(&["run", "/bin/good"]), 0, "{block:?}");
        drop(armed);
    }
    let target = container.target(baseline.clone(), Mode::Enforce, Block::Exec);
    let armed = arm(&target, baseline.clone()).unwrap();
    // The kernel drops no mark for a store to a mapping, and no lease on the overlay's inode
    // sees one that is there.
    assert_eq!(container.tool(&["store", "/bin/good", "first"]), EPERM);
    drop(armed);
    container.kill();
    drop(mounted);
}
