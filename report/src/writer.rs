use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::counters::{Counting, count};
use crate::entry::{Entry, Gap, GapReason};
use crate::queue::{Queue, Taken};

/// Lines that wait for the disk: about two thousand records. More are lost, counted, and
/// told in the file by a gap record as soon as it takes one.
const QUEUE: usize = 1024 * 1024;

/// How long a write that failed waits to be tried again.
const RETRY: Duration = Duration::from_secs(1);

/// When the record file is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// From this size on. 0: never, logrotate does it.
    pub bytes: u64,
    /// How many old files are kept, as `.1` (the youngest) to `.N`.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { bytes: 64 * 1024 * 1024, keep: 5 }
    }
}

/// Appends whole lines to a file that other processes append to as well. A thread writes;
/// whoever hands a line in never waits.
///
/// Every write is one `write(2)` of whole lines to a file opened with `O_APPEND`, so lines
/// of different shims never mix. Before each write the file is opened anew if its name
/// leads to another one: so both its own rotation and logrotate's `create` work.
#[derive(Debug)]
pub struct RecordWriter {
    queue: Arc<Queue>,
    counting: Arc<Counting>,
    thread: Option<JoinHandle<()>>,
}

impl RecordWriter {
    /// Opens the file, making it and its directory if they are not there.
    ///
    /// # Errors
    /// When that fails, or the thread cannot be started.
    pub fn open(path: &Path, rotation: Rotation, node: &str) -> io::Result<Self> {
        Self::counted(path, rotation, node, Arc::default())
    }

    pub(crate) fn counted(
        path: &Path,
        rotation: Rotation,
        node: &str,
        counting: Arc<Counting>,
    ) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut output = Output { path: path.to_owned(), rotation, file: None, torn: false };
        output.reopen()?;
        let queue = Arc::new(Queue::new(QUEUE));
        let (lines, counts, node) = (Arc::clone(&queue), Arc::clone(&counting), node.to_owned());
        let thread = std::thread::Builder::new()
            .name("lacre-records".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || run(&lines, &counts, &mut output, &node))?;
        Ok(Self { queue, counting, thread: Some(thread) })
    }

    /// Hands a line in. `false` when the queue is full: the line is lost, and the file
    /// will say so.
    pub fn write(&self, line: Vec<u8>) -> bool {
        let room = self.queue.put(line);
        if !room {
            count(&self.counting.write_lost, 1);
        }
        room
    }

    /// Lines in the file, lines lost, and writes that failed.
    #[must_use]
    pub fn counters(&self) -> crate::Counters {
        self.counting.read()
    }
}

impl Drop for RecordWriter {
    /// Writes what waits. A disk that refuses it is tried once more, and no longer.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(queue: &Queue, counting: &Counting, output: &mut Output, node: &str) {
    while let Some(Taken { mut bytes, lines, lost }) = queue.take() {
        if lost > 0 {
            let gap = Entry::from(Gap::new(GapReason::QueueFull, Some(lost), node));
            bytes.extend_from_slice(&gap.encode());
            bytes.push(b'\n');
        }
        let mut rest = &bytes[..];
        while let Err((done, _)) = output.write(rest) {
            rest = &rest[done..];
            count(&counting.write_failed, 1);
            if queue.pause(RETRY) {
                if let Err((done, _)) = output.write(rest) {
                    let left = rest[done..].iter().filter(|byte| **byte == b'\n').count() as u64;
                    count(&counting.write_lost, left);
                    return;
                }
                break;
            }
        }
        count(&counting.written, lines);
    }
}

struct Output {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    /// The last write left part of a line in the file.
    torn: bool,
}

impl Output {
    /// Writes whole lines. When it fails, tells how many bytes of whole lines got in.
    fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if lines.is_empty() {
            return Ok(());
        }
        self.settle().map_err(|error| (0, error))?;
        let Some(mut file) = self.file.as_ref() else {
            return Err((0, io::ErrorKind::NotFound.into()));
        };
        // Ends a line that was cut short, so that it alone is broken.
        let mut text = Vec::new();
        let out = if self.torn {
            text.push(b'\n');
            text.extend_from_slice(lines);
            &text
        } else {
            lines
        };
        match file.write(out) {
            Ok(written) if written == out.len() => {
                self.torn = false;
                Ok(())
            }
            Ok(written) => {
                let lead = usize::from(self.torn);
                let whole = out[..written].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                self.torn = if written == 0 { self.torn } else { whole != written };
                Err((whole.saturating_sub(lead), io::ErrorKind::StorageFull.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.write(lines),
            Err(error) => Err((0, error)),
        }
    }

    /// Sees to it that the open file is the one that has the name, and is not too big.
    fn settle(&mut self) -> io::Result<()> {
        let same = |file: &File, path: &Path| -> Option<u64> {
            let (open, named) = (file.metadata().ok()?, fs::metadata(path).ok()?);
            (open.ino() == named.ino() && open.dev() == named.dev()).then_some(open.len())
        };
        match self.file.as_ref().and_then(|file| same(file, &self.path)) {
            None => self.reopen(),
            Some(size) if self.rotation.bytes > 0 && size >= self.rotation.bytes => {
                self.rotate()?;
                self.reopen()
            }
            Some(_) => Ok(()),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        self.torn = is_torn(&file)?;
        self.file = Some(file);
        Ok(())
    }

    /// Moves the file to `.1`, and those before it one further. One process does; the
    /// others find another file under the name, or that it was done.
    fn rotate(&self) -> io::Result<()> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.with_added_extension("lock"))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        if fs::metadata(&self.path)?.len() < self.rotation.bytes {
            return Ok(());
        }
        let old = |n: u32| self.path.with_added_extension(n.to_string());
        for n in (1..self.rotation.keep.max(1)).rev() {
            match fs::rename(old(n), old(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, old(1))
    }
}

/// Whether the file ends in half a line: somebody was killed, or the disk was full, in the
/// midst of writing it. One that is being written right now grows, or is soon whole.
fn is_torn(file: &File) -> io::Result<bool> {
    let look = || -> io::Result<(u64, bool)> {
        let (len, mut last) = (file.metadata()?.len(), [b'\n']);
        Ok((len, len > 0 && file.read_at(&mut last, len - 1)? == 1 && last != [b'\n']))
    };
    let mut before = look()?;
    while before.1 {
        std::thread::sleep(Duration::from_millis(20));
        let now = look()?;
        if now == before {
            return Ok(true);
        }
        before = now;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
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
                    let out = RecordWriter::open(path, rotation, "n").unwrap();
                    for line in 0..500 {
                        assert!(out.write(format!("{writer}-{line}-{}", "x".repeat(100)).into()));
                        if line % 10 == 0 {
                            std::thread::yield_now();
                        }
                    }
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
    fn logrotate_may_take_the_file_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let mut out = Output {
            path: path.clone(),
            rotation: Rotation { bytes: 0, keep: 0 },
            file: None,
            torn: false,
        };
        out.write(b"a\n").unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        out.write(b"b\n").unwrap();
        assert_eq!(
            (lines(&dir.path().join("old")), lines(&path)),
            (vec!["a".to_owned()], vec!["b".to_owned()])
        );
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
        let out = RecordWriter::open(path, Rotation::default(), "n").unwrap();
        assert!(out.write(line.into()));
    }

    #[test]
    fn a_full_disk_is_counted_and_the_lines_come_when_there_is_room() {
        let mount = SmallDisk::new();
        let path = mount.0.path().join("v");
        let out = RecordWriter::open(&path, Rotation { bytes: 0, keep: 0 }, "n").unwrap();
        let ballast = mount.0.path().join("ballast");
        let mut fill = File::create(&ballast).unwrap();
        while fill.write_all(&[0; 4096]).is_ok() {}
        for line in 0..100 {
            assert!(out.write(format!("{line} {}", "y".repeat(200)).into()));
        }
        while out.counters().write_failed == 0 {
            std::thread::yield_now();
        }
        drop(fill);
        fs::remove_file(&ballast).unwrap();
        drop(out);
        let kept: Vec<_> = lines(&path).into_iter().filter(|line| line.len() > 200).collect();
        let numbers: Vec<_> =
            kept.iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(numbers, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_never_waits_and_counts_what_it_lost() {
        let queue = Queue::new(1000);
        assert!(queue.put(vec![b'a'; 900]));
        assert!(!queue.put(vec![b'b'; 900]));
        let taken = queue.take().unwrap();
        assert_eq!((taken.lines, taken.lost), (1, 1));
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
