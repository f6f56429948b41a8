//! The node's record file while the disk may be full, away or slow.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Rotation;
use crate::counters::{Counting, count};
use crate::entry::Entry;
use crate::events::Events;
use crate::fair_shares::{Owner, Shares};
use crate::gap::{Gap, GapReason};
use crate::log_note::Note;
use crate::rotating_file::RotatingFile;

/// Lines that wait for a file that refuses them, in bytes: one container alone has half of
/// it, some 700 records. Where there is no policy server, records beyond it wait in memory
/// before they are numbered; where there is one, it has them all, and the file says how many
/// it has not.
const ROOM: u64 = 1024 * 1024;

/// How long until what the disk refused is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The bytes of one write.
const AT_ONCE: usize = 256 * 1024;

/// The node's record file, as one process writes it. What the file does not take is kept, and
/// tried again; that it cannot be opened is no other case.
#[derive(Debug)]
pub(crate) struct RecordFile {
    output: RotatingFile,
    node: String,
    waiting: VecDeque<(Owner, Vec<u8>)>,
    room: Shares,
    /// Uses whose lines found no room.
    lost: BTreeMap<Owner, u64>,
    retry: Option<Instant>,
}

impl RecordFile {
    pub(crate) fn new(path: &Path, rotation: Rotation, node: &str) -> Self {
        Self {
            output: RotatingFile::new(path, rotation),
            node: node.to_owned(),
            waiting: VecDeque::new(),
            room: Shares::new(ROOM),
            lost: BTreeMap::new(),
            retry: None,
        }
    }

    /// Takes a line, the only one of so many uses. `false` when it found no room: the file
    /// will say so.
    pub(crate) fn push(&mut self, owner: Owner, entry: &Entry, uses: u64) -> bool {
        self.push_line(owner, entry.encode(), uses)
    }

    fn push_line(&mut self, owner: Owner, mut line: Vec<u8>, uses: u64) -> bool {
        line.push(b'\n');
        let bytes = line.len() as u64;
        if !self.room.fits(&owner, bytes, 0) {
            *self.lost.entry(owner).or_default() += uses;
            return false;
        }
        self.room.take(&owner, bytes);
        self.waiting.push_back((owner, line));
        true
    }

    /// Whether it holds as much as one container may.
    pub(crate) const fn is_full(&self) -> bool {
        self.retry.is_some() && self.room.total() > ROOM / 4
    }

    /// When it is to be tried again.
    pub(crate) const fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Nothing waits.
    pub(crate) fn is_clean(&self) -> bool {
        self.waiting.is_empty() && self.lost.is_empty()
    }

    /// Writes what waits, unless the file has just refused.
    pub(crate) fn write(&mut self, counting: &Counting, events: &dyn Events) {
        if self.retry.is_none_or(|retry| retry <= Instant::now()) {
            self.try_write(counting, events);
        }
    }

    /// Writes what waits, once more.
    pub(crate) fn finish(&mut self, counting: &Counting, events: &dyn Events) {
        self.try_write(counting, events);
    }

    fn try_write(&mut self, counting: &Counting, events: &dyn Events) {
        let told = self.retry.take().is_some();
        while !self.is_clean() {
            if self.waiting.is_empty() {
                self.tell_lost();
            }
            let (mut bytes, mut lines) = (Vec::new(), 0);
            for (_, line) in &self.waiting {
                if lines > 0 && bytes.len() + line.len() > AT_ONCE {
                    break;
                }
                bytes.extend_from_slice(line);
                lines += 1;
            }
            let done = match self.output.write(&bytes) {
                Ok(()) => lines,
                Err((done, error)) => {
                    count(&counting.write_failed, 1);
                    self.retry = Some(Instant::now() + RETRY);
                    if !told {
                        let path = self.output.path().to_owned();
                        events.note(Note::NotWritten(path, error));
                    }
                    bytes[..done].iter().filter(|byte| **byte == b'\n').count()
                }
            };
            count(&counting.written, done as u64);
            for (owner, line) in self.waiting.drain(..done) {
                self.room.give_back(&owner, line.len() as u64);
            }
            if self.retry.is_some() {
                return;
            }
        }
    }

    /// What it has still not taken, in lines, and how many these are.
    pub(crate) fn unwritten(&mut self) -> (Vec<u8>, u64) {
        self.tell_lost();
        let lines = self.waiting.len() as u64;
        (self.waiting.drain(..).flat_map(|(_, line)| line).collect(), lines)
    }

    /// Appends lines of another process. Where not all were taken, how many bytes of whole ones.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), usize> {
        self.output.write(lines).map_err(|(done, _)| done)
    }

    /// Behind the last line that found room.
    fn tell_lost(&mut self) {
        for (owner, uses) in std::mem::take(&mut self.lost) {
            let gap = Gap::new(GapReason::QueueFull, Some(uses), &self.node).of(&owner);
            let mut line = Entry::from(gap).encode();
            line.push(b'\n');
            self.room.take(&owner, line.len() as u64);
            self.waiting.push_back((owner, line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write as _;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    struct Silent;

    impl Events for Silent {
        fn policy(&self, _: &str, _: &str, _: &crate::StoredPolicy) {}
        fn answer(&self, _: u64, _: &crate::Answer, _: bool, _: &str) {}
        fn note(&self, _: Note) {}
    }

    impl RecordFile {
        fn put(&mut self, line: &str) -> bool {
            self.push_line(None, line.into(), 1)
        }

        fn out(&mut self) {
            self.write(&Counting::default(), &Silent);
        }
    }

    #[test]
    fn many_writers_share_a_file_and_rotate_it_with_no_line_lost_or_mixed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/violations.jsonl");
        let rotation = Rotation { bytes: 20_000, keep: 50 };
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let mut out = RecordFile::new(path, rotation, "n");
                    for line in 0..500 {
                        assert!(out.put(&format!("{writer}-{line}-{}", "x".repeat(100))));
                        if line % 10 == 9 {
                            out.out();
                        }
                    }
                    assert!(out.is_clean());
                });
            }
        });
        let mut all = Vec::new();
        for file in fs::read_dir(path.parent().unwrap()).unwrap() {
            let file = file.unwrap().path();
            if !file.to_string_lossy().ends_with("lock") {
                all.extend(lines(&file));
            }
        }
        assert!(path.with_added_extension("1").exists());
        let broken = all.iter().find(|line| !line.ends_with(&"x".repeat(100)));
        assert_eq!(broken, None);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 2000);
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_spoil_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        fs::write(&path, "whole\nhal").unwrap();
        drop_in(&path, "next");
        assert_eq!(lines(&path), ["whole", "hal", "next"]);
    }

    fn drop_in(path: &Path, line: &str) {
        let mut out = RecordFile::new(path, Rotation::default(), "n");
        assert!(out.put(line));
        out.out();
    }

    #[test]
    fn a_full_disk_is_counted_and_the_lines_come_when_there_is_room() {
        let mount = SmallDisk::new();
        let path = mount.0.path().join("v");
        let mut out = RecordFile::new(&path, Rotation { bytes: 0, keep: 0 }, "n");
        let ballast = mount.0.path().join("ballast");
        let mut fill = File::create(&ballast).unwrap();
        while fill.write_all(&[0; 4096]).is_ok() {}
        for line in 0..100 {
            assert!(out.put(&format!("{line} {}", "y".repeat(200))));
        }
        let counting = Counting::default();
        out.write(&counting, &Silent);
        assert!(counting.read().write_failed == 1 && out.retry().is_some() && !out.is_clean());
        drop(fill);
        fs::remove_file(&ballast).unwrap();
        out.finish(&counting, &Silent);
        let kept: Vec<_> = lines(&path).into_iter().filter(|line| line.len() > 200).collect();
        let numbers: Vec<_> =
            kept.iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(numbers, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_file_that_refuses_has_no_room_for_is_told_and_is_nobody_elses_loss() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        // A folder is no file that could be opened.
        fs::create_dir(&path).unwrap();
        let mut out = RecordFile::new(&path, Rotation::default(), "n");
        let (greedy, other): (Owner, Owner) = (Some("ns/greedy".into()), Some("ns/other".into()));
        let mut put = |owner: &Owner, text: &str| {
            let kept = out.push_line(owner.clone(), text.into(), 3);
            out.out();
            kept
        };
        let mut lost = 0;
        for line in 0..2000 {
            lost += if put(&greedy, &format!("greedy {line} {}", "y".repeat(600))) { 0 } else { 3 };
        }
        assert!(lost > 0);
        assert!((0..100).all(|line| put(&other, &format!("other {line}"))));
        fs::remove_dir(&path).unwrap();
        out.finish(&Counting::default(), &Silent);
        let text = lines(&path);
        assert_eq!(text.iter().filter(|line| line.starts_with("other")).count(), 100);
        let Ok(Entry::Gap(gap)) = Entry::parse(text.last().unwrap().as_bytes()) else {
            panic!("{:?}", text.last())
        };
        assert_eq!((gap.reason, gap.lost), (GapReason::QueueFull, Some(lost)));
        assert_eq!(
            (gap.namespace.as_deref(), gap.container_id.as_deref()),
            (Some("ns"), Some("greedy"))
        );
        let kept = text.iter().filter(|line| line.starts_with("greedy")).count() as u64;
        assert_eq!(kept * 3 + lost, 6000);
    }

    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let status = std::process::Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
                .arg(dir.path())
                .status()
                .unwrap();
            assert!(status.success(), "a tmpfs needs root");
            Self(dir)
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        }
    }
}
