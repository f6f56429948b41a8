//! How far each stream of records has come, of whom, within bounds.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most streams that are known at a time. A shim has one; it is closed when it is
/// delivered to its end.
const STREAMS: usize = 262_144;

/// The most streams of one principal.
const OF_ONE: usize = 32_768;

/// The end of all numbers: whoever adds one to a number need not look.
pub(super) const LAST: u64 = i64::MAX as u64;

/// How long a closed stream is remembered: a call that was on its way when it was closed
/// must not begin it anew.
const CLOSED: Duration = Duration::from_secs(3600);

/// How long a stream is remembered that nothing comes from. A node that is away longer
/// and comes back is written with a line that says which numbers are elsewhere.
const IDLE: Duration = Duration::from_secs(90 * 24 * 3600);

/// The name of a stream: 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u128);

/// A text is not the name of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream is named by 32 lower-case hex digits")]
pub struct NotAStream;

impl FromStr for StreamId {
    type Err = NotAStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(hex) {
            return Err(NotAStream);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NotAStream)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a batch is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The stream is another principal's.
    #[error("that stream belongs to another principal")]
    NotYours,
    /// There are too many streams.
    #[error("too many streams are open; close those that are delivered")]
    Streams,
    /// The numbers make no sense.
    #[error("numbers begin at 1, `oldest` is not above `first`, and they end below 2^63")]
    Numbers,
    /// Too much is on its way to the disk.
    #[error("the server is busy; try again later")]
    Busy,
    /// The disk refuses.
    #[error("the server cannot write to its disk; try again later")]
    Disk,
}

/// The numbers of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The stream.
    pub stream: StreamId,
    /// Who sends it.
    pub owner: Arc<str>,
    /// The number of its first record.
    pub first: u64,
    /// The oldest number that the sender has.
    pub oldest: u64,
    /// How many records.
    pub count: u64,
}

impl Batch {
    /// The number after its last.
    ///
    /// # Errors
    /// When its numbers make no sense.
    pub fn end(&self) -> Result<u64, Refusal> {
        let end = self.first.checked_add(self.count).filter(|end| *end <= LAST);
        let sound = self.first > 0 && self.oldest > 0 && self.oldest <= self.first;
        end.filter(|_| sound).ok_or(Refusal::Numbers)
    }
}

/// What is to be written of a batch.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Everything up to here is in the table.
    pub acknowledged: u64,
    /// How many records of the batch are not to be written.
    pub skip: usize,
    /// Numbers that nobody has any more.
    pub missing: Option<(u64, u64)>,
    /// How the table was before, if it changed.
    pub change: Option<Change>,
}

/// How one stream was before.
#[derive(Debug, PartialEq, Eq)]
pub struct Change(StreamId, Option<Stream>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    owner: Arc<str>,
    last: u64,
    closed: bool,
    seen: Instant,
}

/// Which number came last, of every stream. Pure: what it says is for others to write.
#[derive(Debug, Default)]
pub struct Table {
    streams: HashMap<StreamId, Stream>,
    owners: HashMap<Arc<str>, usize>,
    forgot: Option<Instant>,
}

impl Table {
    /// How many streams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Takes what is new of a batch. Of what came before, nothing is taken again; behind a
    /// hole nothing is taken, unless the sender says that it has nothing older.
    ///
    /// # Errors
    /// When it is not to be taken; then nothing changed.
    pub fn take(&mut self, batch: &Batch) -> Result<Taken, Refusal> {
        let end = batch.end()?;
        let Batch { stream, owner, first, oldest, count } = batch;
        let before = self.streams.get(stream);
        if before.is_some_and(|before| before.owner != *owner) {
            return Err(Refusal::NotYours);
        }
        let last = before.map_or(0, |before| before.last);
        let skipped = |acknowledged| Taken {
            acknowledged,
            skip: usize::try_from(*count).unwrap_or(usize::MAX),
            missing: None,
            change: None,
        };
        let hole = *first > last + 1;
        if end - 1 <= last || *count == 0 || (hole && first != oldest) {
            return Ok(skipped(last));
        }
        if before.is_none() {
            self.room(owner)?;
        }
        let skip = usize::try_from((last + 1).saturating_sub(*first)).unwrap_or(usize::MAX);
        let now =
            Stream { owner: Arc::clone(owner), last: end - 1, closed: false, seen: Instant::now() };
        let change = self.put(*stream, Some(now));
        Ok(Taken {
            acknowledged: end - 1,
            skip,
            missing: hole.then_some((last + 1, first - 1)),
            change: Some(change),
        })
    }

    /// Marks a stream as over. `None` when there is no such stream, or it was over.
    ///
    /// # Errors
    /// When it is another's.
    pub fn close(&mut self, stream: StreamId, owner: &str) -> Result<Option<Change>, Refusal> {
        match self.streams.get(&stream) {
            Some(open) if *open.owner != *owner => Err(Refusal::NotYours),
            Some(open) if !open.closed => {
                let closed = Stream { closed: true, seen: Instant::now(), ..open.clone() };
                Ok(Some(self.put(stream, Some(closed))))
            }
            _ => Ok(None),
        }
    }

    /// Takes a change back. The last one goes first.
    pub fn undo(&mut self, change: Change) {
        self.put(change.0, change.1);
    }

    /// What a line of the ledger says: that stream came to that number.
    pub(super) fn known(&mut self, stream: StreamId, owner: &str, last: u64, closed: bool) {
        let last = self.streams.get(&stream).map_or(last, |before| before.last.max(last));
        let owner = match self.owners.get_key_value(owner) {
            Some((owner, _)) => Arc::clone(owner),
            None => owner.into(),
        };
        self.put(stream, Some(Stream { owner, last, closed, seen: Instant::now() }));
    }

    /// Every stream: its name, its owner, its last number, whether it is over.
    pub(crate) fn all(&self) -> impl Iterator<Item = (StreamId, &str, u64, bool)> {
        self.streams.iter().map(|(id, of)| (*id, &*of.owner, of.last, of.closed))
    }

    /// Forgets streams that are over, and those that nothing has come from for long.
    pub fn forget(&mut self) {
        let old =
            |stream: &Stream| stream.seen.elapsed() > if stream.closed { CLOSED } else { IDLE };
        let gone: Vec<_> =
            self.streams.iter().filter(|(_, stream)| old(stream)).map(|(id, _)| *id).collect();
        for id in gone {
            self.put(id, None);
        }
        self.forgot = Some(Instant::now());
    }

    /// Whether there is room for a stream more.
    fn room(&mut self, owner: &str) -> Result<(), Refusal> {
        let full = |table: &Self| {
            table.len() >= STREAMS || table.owners.get(owner).is_some_and(|of| *of >= OF_ONE)
        };
        // A full table is gone through once a minute, and not for every call.
        if full(self) && self.forgot.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
            self.forget();
        }
        if full(self) { Err(Refusal::Streams) } else { Ok(()) }
    }

    fn put(&mut self, id: StreamId, stream: Option<Stream>) -> Change {
        if let Some(stream) = &stream {
            *self.owners.entry(Arc::clone(&stream.owner)).or_default() += 1;
        }
        let before = match stream {
            Some(stream) => self.streams.insert(id, stream),
            None => self.streams.remove(&id),
        };
        if let Some(before) = &before
            && let Some(of) = self.owners.get_mut(&before.owner)
        {
            *of -= 1;
            if *of == 0 {
                self.owners.remove(&before.owner);
            }
        }
        Change(id, before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(first: u64, oldest: u64, count: u64) -> Batch {
        Batch { stream: StreamId(7), owner: "a".into(), first, oldest, count }
    }

    #[test]
    fn a_hole_is_refused_until_the_sender_says_that_nothing_is_older() {
        let mut table = Table::default();
        assert_eq!(table.take(&batch(5, 1, 3)).unwrap().acknowledged, 0);
        assert!(table.is_empty());
        let taken = table.take(&batch(5, 5, 3)).unwrap();
        assert_eq!((taken.acknowledged, taken.skip, taken.missing), (7, 0, Some((1, 4))));
    }

    #[test]
    fn a_change_can_be_taken_back() {
        let mut table = Table::default();
        let first = table.take(&batch(1, 1, 3)).unwrap().change.unwrap();
        let second = table.take(&batch(4, 1, 3)).unwrap().change.unwrap();
        table.undo(second);
        assert_eq!(table.take(&batch(9, 1, 0)).unwrap().acknowledged, 3);
        table.undo(first);
        assert!(table.is_empty() && table.owners.is_empty());
    }

    #[test]
    fn a_stream_is_its_owners_even_when_it_is_over() {
        let mut table = Table::default();
        table.take(&batch(1, 1, 3)).unwrap();
        let mut other = batch(4, 1, 1);
        other.owner = "b".into();
        assert_eq!(table.take(&other), Err(Refusal::NotYours));
        assert_eq!(table.close(StreamId(7), "b"), Err(Refusal::NotYours));
        assert!(table.close(StreamId(7), "a").unwrap().is_some());
        assert_eq!(table.take(&other), Err(Refusal::NotYours));
        assert_eq!(table.take(&batch(1, 1, 3)).unwrap().skip, 3, "sent again after the end");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_every_number_once_in_order(
            batches in proptest::collection::vec((1..60_u64, 0..20_u64, any::<bool>()), 1..80),
        ) {
            let mut table = Table::default();
            let mut log = Vec::new();
            for (first, count, jump) in batches {
                let oldest = if jump { first } else { 1 };
                let taken = table.take(&batch(first, oldest, count)).unwrap();
                if let Some((from, to)) = taken.missing {
                    log.extend(from..=to);
                }
                log.extend((first..first + count).skip(taken.skip));
                prop_assert_eq!(taken.acknowledged, log.len() as u64);
            }
            prop_assert_eq!(&log, &(1..=log.len() as u64).collect::<Vec<_>>());
        }

        #[test]
        fn no_numbers_overflow(first: u64, oldest: u64, count: u64) {
            let mut table = Table::default();
            let _ = table.take(&batch(first, oldest, count));
            let _ = table.take(&batch(oldest, oldest, count));
        }
    }
}
