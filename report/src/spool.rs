//! Records on disk until the server has them, in segments with a bound.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::entry::Entry;
use crate::fair_shares::{Owner, Shares};
use crate::gap::{Gap, GapReason};
use crate::spool::frame::MAGIC;

pub(crate) mod frame;
pub(crate) mod orphans;
pub(crate) mod reader;

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
    /// How much of it is whose.
    of: BTreeMap<Owner, u64>,
}

/// What of one container has no place in the spool, since its gap began.
#[derive(Debug)]
struct Lost {
    uses: u64,
    reason: GapReason,
    /// Whether the spool says that the gap has begun.
    said: bool,
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
    shares: Shares,
    /// Whose records have no room, as long as their gaps are open.
    lost: BTreeMap<Owner, Lost>,
}

impl Spool {
    /// A new spool in that directory, which keeps to `limit` bytes.
    ///
    /// # Errors
    /// When the directory cannot be made or locked.
    pub fn create(spools: &Path, limit: u64, node: &str) -> Result<Self, SpoolError> {
        let stream = draw_stream().map_err(io("drawing a name in", spools))?;
        Self::named(spools, stream, limit, node)
    }

    /// The same, under a name that was drawn before.
    pub(crate) fn named(
        spools: &Path,
        stream: Arc<str>,
        limit: u64,
        node: &str,
    ) -> Result<Self, SpoolError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(spools)
            .map_err(io("making", spools))?;
        // Locked before it has the name under which others look for dead spools.
        let hidden = spools.join(format!(".new-{stream}"));
        let dir = spools.join(&*stream);
        let _ = fs::remove_dir(&hidden);
        DirBuilder::new().mode(0o700).create(&hidden).map_err(io("making", &hidden))?;
        let lock = File::open(&hidden).map_err(io("opening", &hidden))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| io("locking", &hidden)(errno.into()))?;
        fs::rename(&hidden, &dir).map_err(io("naming", &dir))?;
        Ok(Self {
            dir,
            stream,
            node: node.to_owned(),
            _lock: lock,
            limit: limit.max(4 * RESERVE),
            shares: Shares::new(limit.max(4 * RESERVE)),
            segments: VecDeque::new(),
            tail: None,
            unsynced: Vec::new(),
            next: 1,
            acknowledged: 0,
            lost: BTreeMap::new(),
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

    /// Appends a record, which gets the next number and the stream's name in it, and is the
    /// only line of so many `uses`. When this returns, the record survives the death of this
    /// process; what was [sent](crate::Reporter) survives a power cut too.
    ///
    /// # Errors
    /// When there is no room for it. Then a gap record stands where it would be.
    pub(crate) fn append_for(&mut self, entry: &mut Entry, uses: u64) -> Result<u64, SpoolError> {
        self.close_gaps(false);
        let (stream, number, owner) = (Arc::clone(&self.stream), self.next, entry.owner());
        entry.number(Some(&stream), Some(number));
        let payload = entry.encode();
        let result = match frame::encode(number, &payload) {
            None => Err(SpoolError::TooLong(payload.len())),
            Some(frame)
                if !self.lost.contains_key(&owner) && self.fits(&owner, &frame, RESERVE) =>
            {
                self.write(&owner, &frame)
            }
            Some(_) => Err(self.full()),
        };
        if let Err(error) = &result {
            entry.number(Some(&stream), None);
            let reason = match error {
                SpoolError::Full { .. } => GapReason::SpoolFull,
                _ => GapReason::SpoolFailed,
            };
            self.lose(owner, uses, reason);
        }
        result.map(|()| number)
    }

    /// As `append_for`, for one use.
    ///
    /// # Errors
    /// When there is no room for it. Then a gap record stands where it would be.
    pub fn append(&mut self, entry: &mut Entry) -> Result<u64, SpoolError> {
        self.append_for(entry, 1)
    }

    /// So many uses of a container are not in it. The first time, says so in the spool while
    /// there is room for it, so that it is known even if this process dies now.
    pub(crate) fn lose(&mut self, owner: Owner, uses: u64, reason: GapReason) {
        let lost = self.lost.entry(owner.clone()).or_insert(Lost { uses: 0, reason, said: false });
        lost.uses += uses;
        if !lost.said {
            lost.said = true;
            let _ = self.write_gap(&owner, Gap::new(reason, None, &self.node), 0);
        }
    }

    /// Says how many were lost of each container, once there is room again; with `last`,
    /// wherever there is any.
    pub(crate) fn close_gaps(&mut self, last: bool) {
        if self.lost.is_empty() {
            return;
        }
        // Room for this, and for the record that wants in: else it would open again at once.
        let room = if last { 0 } else { 2 * RESERVE + SPENT.min(self.limit / 8) };
        let owners: Vec<_> = self.lost.keys().cloned().collect();
        for owner in owners {
            let Some(Lost { uses, reason, .. }) = self.lost.get(&owner) else { continue };
            let gap = Gap::new(*reason, Some(*uses), &self.node);
            if (last || self.shares.fits(&owner, room, 0))
                && self.write_gap(&owner, gap, if last { 0 } else { RESERVE }).is_ok()
            {
                self.lost.remove(&owner);
            }
        }
    }

    fn write_gap(&mut self, owner: &Owner, gap: Gap, reserve: u64) -> Result<(), SpoolError> {
        let mut entry = Entry::from(gap.of(owner));
        let stream = Arc::clone(&self.stream);
        entry.number(Some(&stream), Some(self.next));
        // What says that there is a loss is nobody's share.
        match frame::encode(self.next, &entry.encode()) {
            Some(frame) if self.fits(&None, &frame, reserve) => self.write(&None, &frame),
            _ => Err(self.full()),
        }
    }

    fn full(&self) -> SpoolError {
        SpoolError::Full { dir: self.dir.clone(), limit: self.limit }
    }

    fn fits(&self, owner: &Owner, frame: &[u8], reserve: u64) -> bool {
        self.shares.fits(owner, (frame.len() + MAGIC.len()) as u64, reserve)
    }

    /// Writes a whole frame or nothing: what got into the file of a frame that did not get
    /// in whole is cut off again, and if even that fails, the segment is closed there.
    fn write(&mut self, owner: &Owner, frame: &[u8]) -> Result<(), SpoolError> {
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
        *segment.of.entry(owner.clone()).or_default() += frame.len() as u64;
        self.shares.take(owner, frame.len() as u64);
        self.next += 1;
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), SpoolError> {
        let path = self.dir.join(format!("{:020}.seg", self.next));
        // The same number again: its segment was begun and nothing got into it.
        if self.segments.back().is_some_and(|segment| segment.path == path)
            && let Some(empty) = self.segments.pop_back()
        {
            self.forget(&empty);
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
        let of = BTreeMap::from([(None, bytes)]);
        self.segments.push_back(Segment { path, last: self.next - 1, bytes, of });
        self.shares.take(&None, bytes);
        self.tail = Some(Arc::new(file));
        Ok(())
    }

    /// Everything up to this number is on the server's disk: segments that hold nothing
    /// else go, the one that is written now when it has grown.
    pub fn acknowledge(&mut self, number: u64) {
        self.acknowledged = self.acknowledged.max(number.min(self.last()));
        let acknowledged = self.acknowledged;
        while let Some(segment) = self.segments.pop_front_if(|of| of.last <= acknowledged) {
            if self.segments.is_empty() && segment.bytes < SPENT.min(self.limit / 2) {
                self.segments.push_front(segment);
                break;
            }
            // A segment that stays is sent again, and known by its numbers.
            let _ = fs::remove_file(&segment.path);
            self.forget(&segment);
        }
        if self.segments.is_empty() {
            self.tail = None;
        }
    }

    fn forget(&mut self, segment: &Segment) {
        segment.of.iter().for_each(|(owner, bytes)| self.shares.give_back(owner, *bytes));
    }

    /// Whether everything in it was acknowledged, and nothing is missing from it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.acknowledged == self.last() && self.lost.is_empty()
    }

    /// Takes the spool away.
    ///
    /// # Errors
    /// When the kernel refuses. What is left is adopted, and known by its numbers.
    pub fn remove(self) -> Result<(), SpoolError> {
        fs::remove_dir_all(&self.dir).map_err(io("removing", &self.dir))
    }
}

/// A name that no other stream has: 32 hex digits.
pub(crate) fn draw_stream() -> std::io::Result<Arc<str>> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

#[cfg(test)]
mod tests;
