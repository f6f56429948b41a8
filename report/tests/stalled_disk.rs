//! A reporter never waits for a disk, whatever keeps it: it is handed what there is to report
//! at once, and afterwards what was accepted and what is told to be lost is what was seen.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lacre_report::{
    Answer, Became, Config, Entry, Events, Note, Origin, Record, Reporter, StoredPolicy, Verdict,
};
use lacre_types::{
    Action, CanonicalPath, Content, Digest, Event, Measurement, Mode, Process, Source, Violation,
    ViolationKind,
};

const LONG: Duration = Duration::from_secs(60);

/// How long a disk stands still; `LACRE_STALL` says it in seconds.
fn stall() -> u32 {
    std::env::var("LACRE_STALL").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

struct Silent;

impl Events for Silent {
    fn policy(&self, _: &str, _: &str, _: &StoredPolicy) {}
    fn answer(&self, _: u64, _: &Answer, _: bool, _: &str) {}
    fn note(&self, _: Note) {}
}

fn record(container: &str, path: &str) -> Record {
    let violation = Violation {
        kind: ViolationKind::EntryNotFound,
        measurement: Measurement {
            source: Source::Fanotify,
            event: Event::Exec,
            path: CanonicalPath::new(path).ok(),
            content: Content::Digest(Digest::sha256([7; 32])),
            process: Process { pid: 7, uid: Some(0) },
            time: SystemTime::now(),
        },
        expected: None,
    };
    let origin = Origin {
        container_id: container.to_owned(),
        namespace: "ns".to_owned(),
        ..Origin::default()
    };
    let (mode, action, became) = (Mode::Enforce, Action::Deny, Became::Denied);
    let verdict = Verdict { mode, action, became, rule: None, file_kind: None, layer: None };
    Record::new(&origin, &violation, &verdict)
}

/// What a record file says of a container: uses that are counted, uses that are lost.
fn accounted(path: &Path, container: &str) -> (u64, u64) {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut counts, mut lost) = (std::collections::BTreeMap::new(), 0);
    for line in text.lines() {
        match Entry::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}")) {
            Entry::Violation(record) if record.container_id == container => {
                counts.insert(record.place.seq.unwrap(), record.uses());
            }
            Entry::Update(update) if update.container_id == container => {
                counts.insert(update.of.unwrap(), update.count);
            }
            Entry::Gap(gap) if gap.container_id.as_deref() == Some(container) => {
                lost += gap.lost.unwrap();
            }
            _ => {}
        }
    }
    (counts.values().sum(), lost)
}

/// A file system of its own, which can stand still.
struct Disk {
    dir: tempfile::TempDir,
    thaw: Option<Child>,
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir(&mount).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        run("mount", &["-o", "loop", image.to_str().unwrap(), mount.to_str().unwrap()]);
        Self { dir, thaw: None }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// It stands still for so long. Another process thaws it, whatever becomes of this one: a
    /// writer of a frozen file system can't even be killed.
    fn freeze(&mut self, seconds: u32) {
        let script = format!(
            "fsfreeze -f \"$0\" && touch \"$1\"; sleep {seconds}; fsfreeze -u \"$0\"; rm -f \"$1\""
        );
        let mark = self.mark();
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(self.path()).arg(&mark);
        self.thaw = Some(command.spawn().unwrap());
        while !mark.exists() {
            std::thread::yield_now();
        }
    }

    fn mark(&self) -> PathBuf {
        self.dir.path().join("frozen")
    }

    fn is_frozen(&self) -> bool {
        self.mark().exists()
    }

    fn await_thaw(&mut self) {
        if let Some(mut thaw) = self.thaw.take() {
            thaw.wait().unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.await_thaw();
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn nobody_waits_for_a_disk_that_stands_still_and_nothing_goes_missing_untold() {
    let mut disk = Disk::new();
    let mut config = Config::new("n", disk.path().join("state"));
    let file = disk.path().join("violations.jsonl");
    config.records = Some(file.clone());
    let reporter = Reporter::start(config, Arc::new(Silent)).unwrap();
    reporter.report(record("flood", "/before"));
    assert!(reporter.flush(LONG));
    disk.freeze(stall());
    let (mut seen, mut quiet, mut times) = (1, 0, Vec::new());
    while disk.is_frozen() {
        let began = Instant::now();
        // Ever new names, and one that comes again and again: more than there is room for.
        reporter.report(record("flood", &format!("/new/{seen}")));
        reporter.report(record("flood", "/again"));
        times.push(began.elapsed());
        seen += 2;
        if seen % 100 == 1 {
            reporter.report(record("quiet", &format!("/{quiet}")));
            quiet += 1;
        }
        std::thread::sleep(Duration::from_micros(150));
    }
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    println!("{seen} seen while the disk stood still; two reports: p99 {p99:?}");
    assert!(p99 < Duration::from_millis(1), "{p99:?}");
    assert!(reporter.flush(LONG));
    let (counted, lost) = accounted(&file, "flood");
    println!("{counted} on record, {lost} told to be lost");
    assert_eq!(counted + lost, seen);
    let quiet_on_record = accounted(&file, "quiet");
    assert_eq!(quiet_on_record.0 + quiet_on_record.1, quiet);
    assert!(quiet > 300 || quiet_on_record.1 == 0, "{quiet_on_record:?} of a few");
    reporter.stop(LONG);
}

#[test]
fn stopping_waits_no_longer_than_it_may() {
    let mut disk = Disk::new();
    let mut config = Config::new("n", disk.path().join("state"));
    config.records = Some(disk.path().join("violations.jsonl"));
    let reporter = Reporter::start(config, Arc::new(Silent)).unwrap();
    disk.freeze(2);
    reporter.report(record("c", "/x"));
    let began = Instant::now();
    reporter.stop(Duration::from_millis(300));
    assert!(disk.is_frozen() && began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// A record file that can't be had, in five ways, is no reason not to begin; what was reported
/// meanwhile is in it when it can be had.
#[test]
fn a_record_file_that_cannot_be_had_is_tried_again() {
    type Way = (&'static str, fn(&Path), fn(&Path));
    let ways: [Way; 5] = [
        (
            "the name is a folder's",
            |at| std::fs::create_dir(at).unwrap(),
            |at| {
                std::fs::remove_dir(at).unwrap();
            },
        ),
        (
            "a dangling link into nowhere",
            |at| {
                std::os::unix::fs::symlink("/nonexistent/folder/file", at).unwrap();
            },
            |at| std::fs::remove_file(at).unwrap(),
        ),
        (
            "a loop of links",
            |at| std::os::unix::fs::symlink(at, at).unwrap(),
            |at| {
                std::fs::remove_file(at).unwrap();
            },
        ),
        (
            "immutable",
            |at| {
                std::fs::write(at, "").unwrap();
                run("chattr", &["+i", at.to_str().unwrap()]);
            },
            |at| run("chattr", &["-i", at.to_str().unwrap()]),
        ),
        (
            "its folder is a file",
            |at| {
                std::fs::remove_dir(at.parent().unwrap()).unwrap();
                std::fs::write(at.parent().unwrap(), "").unwrap();
            },
            |at| std::fs::remove_file(at.parent().unwrap()).unwrap(),
        ),
    ];
    let disk = Disk::new();
    for (number, (name, spoil, mend)) in ways.into_iter().enumerate() {
        let folder = disk.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("violations.jsonl");
        spoil(&file);
        let mut config = Config::new("n", disk.path().join("state"));
        config.records = Some(file.clone());
        let reporter = Reporter::start(config, Arc::new(Silent)).unwrap();
        for path in ["/one", "/two", "/one"] {
            reporter.report(record("c", path));
        }
        assert!(!reporter.flush(Duration::from_millis(100)), "{name}");
        assert!(reporter.counters().write_failed > 0, "{name}");
        mend(&file);
        assert!(reporter.flush(LONG), "{name}");
        assert_eq!(accounted(&file, "c"), (3, 0), "{name}");
    }
}
