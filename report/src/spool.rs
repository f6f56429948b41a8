use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::entry::{Entry, Gap, GapReason};
use crate::frame::{self, MAGIC};

/// A segment of this size is closed, and the next one begun.
const SEGMENT: u64 = 1024 * 1024;

/// The segment that is written now goes from this size on, when all of it was acknowledged.
const SPENT: u64 = 64 * 1024;

/// What a spool keeps free for the record that says that it is full.
const RESERVE: u64 = 1024;

/// Why a record is not in the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It reached its bound. The loss is recorded in the spool itself.
    #[error("the spool {} is full at {limit} bytes; the policy server has not taken it", .dir.display())]
    Full {
        /// The spool.
        dir: PathBuf,
        /// Its bound.
        limit: u64,
    },
    /// The record is longer than a record can be.
    #[error("a record of {0} bytes is longer than any record")]
    TooLong(usize),
    /// The kernel refused.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

pub(crate) fn io(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> SpoolError + use<> {
    let path = path.to_owned();
    move |source| SpoolError::Io { doing, path, source }
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    last: u64,
    bytes: u64,
}

/// A queue of numbered records on disk, written by one process for one life of it.
///
/// It is a directory of append-only segments, and a lock on the directory tells that its
/// writer lives. A dead writer's spool is adopted, never continued: so a number, once it
/// was sent, cannot come to mean something else.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    stream: Arc<str>,
    node: String,
    /// Locked for as long as this process lives.
    _lock: File,
    limit: u64,
    segments: VecDeque<Segment>,
    tail: Option<Arc<File>>,
    /// Segments that were written since somebody last took them to be synced.
    unsynced: Vec<Arc<File>>,
    next: u64,
    acknowledged: u64,
    bytes: u64,
    /// Records that had no room since the gap began, and why it began.
    lost: Option<(u64, GapReason)>,
}

impl Spool {
    /// A new spool in that directory, which keeps to `limit` bytes.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn create(spools: &Path, limit: u64, node: &str) -> Result<Self, SpoolError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(spools)
            .map_err(io("making", spools))?;
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| io("drawing a name in", spools)(errno.into()))?;
        let stream: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // Locked before it has the name under which others look for dead spools.
        let hidden = spools.join(format!(".new-{stream}"));
        let dir = spools.join(&stream);
        DirBuilder::new().mode(0o700).create(&hidden).map_err(io("making", &hidden))?;
        let lock = File::open(&hidden).map_err(io("opening", &hidden))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| io("locking", &hidden)(errno.into()))?;
        fs::rename(&hidden, &dir).map_err(io("naming", &dir))?;
        Ok(Self {
            dir,
            stream: stream.into(),
            node: node.to_owned(),
            _lock: lock,
            limit: limit.max(4 * RESERVE),
            segments: VecDeque::new(),
            tail: None,
            unsynced: Vec::new(),
            next: 1,
            acknowledged: 0,
            bytes: 0,
            lost: None,
        })
    }

    /// The stream that its records are in.
    #[must_use]
    pub const fn stream(&self) -> &Arc<str> {
        &self.stream
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the last record; 0 before the first.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.next - 1
    }

    /// The files that were written since the last call: to be synced, without holding the
    /// spool, before what is in them is sent.
    pub fn take_unsynced(&mut self) -> Vec<Arc<File>> {
        std::mem::take(&mut self.unsynced)
    }

    /// Appends a record, which gets the next number and the stream's name in it. When
    /// this returns, the record survives the death of this process; what was
    /// [sent](crate::Reporter) survives a power cut too.
    ///
    /// # Errors
    /// When there is no room for it. Then a gap record stands where it would be.
    pub fn append(&mut self, entry: &mut Entry) -> Result<u64, SpoolError> {
        self.close_gap();
        let (stream, number) = (Arc::clone(&self.stream), self.next);
        entry.number(Some(&stream), Some(number));
        let payload = entry.encode();
        let result = match frame::encode(number, &payload) {
            None => Err(SpoolError::TooLong(payload.len())),
            Some(frame) if self.lost.is_none() && self.fits(&frame, RESERVE) => self.write(&frame),
            Some(_) => Err(self.full()),
        };
        if let Err(error) = &result {
            entry.number(Some(&stream), None);
            let reason = match error {
                SpoolError::Full { .. } => GapReason::SpoolFull,
                _ => GapReason::SpoolFailed,
            };
            self.open_gap(reason);
        }
        result.map(|()| number)
    }

    /// The first record that is lost: say so in the spool while there is room for it, so
    /// that it is known even if this process dies now.
    fn open_gap(&mut self, reason: GapReason) {
        if let Some((lost, _)) = &mut self.lost {
            *lost += 1;
            return;
        }
        self.lost = Some((1, reason));
        let _ = self.write_gap(Gap::new(reason, None, &self.node), 0);
    }

    /// Says how many were lost, once there is room again.
    fn close_gap(&mut self) {
        let Some((lost, reason)) = self.lost else { return };
        // Room for this, and for the record that wants in: else it would open again at once.
        if self.bytes + 2 * RESERVE + SPENT.min(self.limit / 4) > self.limit {
            return;
        }
        if self.write_gap(Gap::new(reason, Some(lost), &self.node), RESERVE).is_ok() {
            self.lost = None;
        }
    }

    fn write_gap(&mut self, gap: Gap, reserve: u64) -> Result<(), SpoolError> {
        let mut entry = Entry::from(gap);
        let stream = Arc::clone(&self.stream);
        entry.number(Some(&stream), Some(self.next));
        match frame::encode(self.next, &entry.encode()) {
            Some(frame) if self.fits(&frame, reserve) => self.write(&frame),
            _ => Err(self.full()),
        }
    }

    fn full(&self) -> SpoolError {
        SpoolError::Full { dir: self.dir.clone(), limit: self.limit }
    }

    fn fits(&self, frame: &[u8], reserve: u64) -> bool {
        self.bytes + frame.len() as u64 + MAGIC.len() as u64 + reserve <= self.limit
    }

    /// Writes a whole frame or nothing: what got into the file of a frame that did not get
    /// in whole is cut off again, and if even that fails, the segment is closed there.
    fn write(&mut self, frame: &[u8]) -> Result<(), SpoolError> {
        let full = self.segments.back().is_none_or(|segment| segment.bytes >= SEGMENT);
        if full || self.tail.is_none() {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&self.tail, self.segments.back_mut()) else {
            return Err(SpoolError::TooLong(frame.len()));
        };
        if let Err(source) = (&**file).write_all(frame) {
            let path = segment.path.clone();
            if file.set_len(segment.bytes).is_err() {
                self.tail = None;
            }
            return Err(io("writing to", &path)(source));
        }
        if self.unsynced.last().is_none_or(|last| !Arc::ptr_eq(last, file)) {
            self.unsynced.push(Arc::clone(file));
        }
        segment.bytes += frame.len() as u64;
        segment.last = self.next;
        self.bytes += frame.len() as u64;
        self.next += 1;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), SpoolError> {
        let path = self.dir.join(format!("{:020}.seg", self.next));
        // The same number again: its segment was begun and nothing got into it.
        if self.segments.back().is_some_and(|segment| segment.path == path)
            && let Some(empty) = self.segments.pop_back()
        {
            self.bytes -= empty.bytes;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("creating", &path))?;
        file.set_len(0).map_err(io("emptying", &path))?;
        file.write_all(MAGIC).map_err(io("writing to", &path))?;
        let bytes = MAGIC.len() as u64;
        self.segments.push_back(Segment { path, last: self.next - 1, bytes });
        self.bytes += bytes;
        self.tail = Some(Arc::new(file));
        Ok(())
    }

    /// Everything up to this number is on the server's disk: segments that hold nothing
    /// else go, the one that is written now when it has grown.
    pub fn acknowledge(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number.min(self.last()));
        let spent = |segment: &Segment| segment.last <= self.acknowledged;
        while let Some(segment) = self.segments.front().filter(|segment| spent(segment)) {
            if self.segments.len() == 1 && segment.bytes < SPENT.min(self.limit / 2) {
                break;
            }
            // A segment that stays is sent again, and known by its numbers.
            let _ = fs::remove_file(&segment.path);
            self.bytes -= segment.bytes;
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.tail = None;
        }
    }

    /// Whether everything in it was acknowledged, and nothing is missing from it.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.acknowledged == self.last() && self.lost.is_none()
    }

    /// Takes the spool away.
    ///
    /// # Errors
    /// When the kernel refuses. What is left is adopted, and known by its numbers.
    pub fn remove(self) -> Result<(), SpoolError> {
        fs::remove_dir_all(&self.dir).map_err(io("removing", &self.dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpoolReader;

    fn gap(text: &str) -> Entry {
        Gap::new(GapReason::Torn, Some(7), text).into()
    }

    fn read_all(dir: &Path) -> Vec<(u64, Entry)> {
        let mut reader = SpoolReader::open(dir).unwrap();
        let mut all = Vec::new();
        loop {
            let batch = reader.batch(u64::MAX, 7, 1 << 20).unwrap();
            if batch.records.is_empty() {
                return all;
            }
            for (number, record) in (batch.first..).zip(&batch.records) {
                all.push((number, Entry::parse(record).unwrap()));
            }
            reader.seek(batch.first + batch.records.len() as u64);
        }
    }

    #[test]
    fn what_goes_in_comes_out_numbered_over_many_segments() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 64 << 20, "n").unwrap();
        let text = "x".repeat(1000);
        for number in 1..=3000 {
            assert_eq!(spool.append(&mut gap(&text)).unwrap(), number);
        }
        assert!(spool.segments.len() > 2);
        let all = read_all(spool.dir());
        assert_eq!(all.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (1..=3000).collect::<Vec<_>>());
        spool.acknowledge(2999);
        assert_eq!(spool.segments.len(), 1);
        assert!(!spool.is_done());
        assert_eq!(read_all(spool.dir()).last().unwrap().0, 3000);
        spool.acknowledge(3000);
        assert!(spool.is_done());
        spool.append(&mut gap("after")).unwrap();
        assert_eq!(spool.last(), 3001);
        let dir = spool.dir().to_owned();
        spool.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_full_spool_says_so_at_once_and_how_many_were_lost_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 200 * 1024, "n").unwrap();
        let text = "x".repeat(1000);
        let mut kept = 0;
        while spool.append(&mut gap(&text)).is_ok() {
            kept += 1;
        }
        for _ in 0..9 {
            assert!(matches!(spool.append(&mut gap(&text)), Err(SpoolError::Full { .. })));
        }
        assert!(spool.bytes <= 200 * 1024);
        let all = read_all(spool.dir());
        assert_eq!(all.len(), kept + 1, "every record that was kept, and one that says: full");
        let Entry::Gap(open) = &all[kept].1 else { panic!("{all:?}") };
        assert_eq!((open.reason, open.lost), (GapReason::SpoolFull, None));

        spool.acknowledge(spool.last());
        let mut tries = 0;
        let number = loop {
            match spool.append(&mut gap("after")) {
                Ok(number) => break number,
                Err(_) => tries += 1,
            }
            assert!(tries < 3, "an acknowledged spool has room");
        };
        let all = read_all(spool.dir());
        let Entry::Gap(closed) = &all[all.len() - 2].1 else { panic!("{all:?}") };
        assert_eq!((closed.reason, closed.lost), (GapReason::SpoolFull, Some(10 + tries)));
        assert_eq!(all.last().unwrap().0, number);
    }

    #[test]
    fn a_disk_that_is_full_costs_what_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(dir.path(), 1 << 20, "n").unwrap();
        spool.append(&mut gap("one")).unwrap();
        spool.tail = Some(Arc::new(OpenOptions::new().write(true).open("/dev/full").unwrap()));
        assert!(matches!(spool.append(&mut gap("lost")), Err(SpoolError::Io { .. })));
        // /dev/full cannot be truncated either, so a new segment was begun for what follows.
        assert_eq!(spool.append(&mut gap("three")).unwrap(), spool.last());
        let all = read_all(spool.dir());
        let told = all.iter().any(
            |(_, entry)| matches!(entry, Entry::Gap(gap) if gap.reason == GapReason::SpoolFailed),
        );
        assert!(told, "{all:?}");
        assert!(all.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
    }
}
