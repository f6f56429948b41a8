//! Reading a spool that its writer goes on with, or has died over.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::spool::frame::{self, HEAD, Head, MAGIC};
use crate::spool::{SpoolError, io};

/// Reads a spool, while it is written or after its writer died.
#[derive(Debug)]
pub struct SpoolReader {
    dir: PathBuf,
    /// The next number to read.
    next: u64,
    /// Where the run of numbers without a hole begins.
    oldest: u64,
    at: Option<Position>,
}

#[derive(Debug)]
struct Position {
    file: File,
    offset: u64,
    number: u64,
}

/// Records that follow one another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The number of the first.
    pub first: u64,
    /// The oldest number of the run without a hole that it is a part of.
    pub oldest: u64,
    /// The records, at least one unless there is none now.
    pub records: Vec<Vec<u8>>,
}

impl SpoolReader {
    /// Reads from the oldest record on.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        let next = segments(dir)?.first().map_or(1, |(first, _)| *first);
        Ok(Self { dir: dir.to_owned(), next, oldest: next, at: None })
    }

    /// The next number to read.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Reads on from that number.
    pub fn seek(&mut self, number: u64) {
        self.next = number.max(1);
    }

    /// The records from the next number to `last`, as many as fit. It does not advance:
    /// [`seek`](Self::seek) does, when they have arrived. Where a segment is broken or
    /// gone, the batch begins after it, and `oldest` says so.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn batch(&mut self, last: u64, most: usize, bytes: usize) -> Result<Batch, SpoolError> {
        let mut batch = Batch { first: self.next, ..Batch::default() };
        let mut size = 0;
        while batch.records.len() < most && size < bytes {
            let wanted = batch.first + batch.records.len() as u64;
            if wanted > last {
                break;
            }
            match self.read(wanted)? {
                Some(record) => {
                    size += record.len();
                    batch.records.push(record);
                }
                None if !batch.records.is_empty() => break,
                None => match segments(&self.dir)?.into_iter().find(|(first, _)| *first > wanted) {
                    Some((first, _)) if first <= last => {
                        batch.first = first;
                        self.oldest = first;
                    }
                    _ => break,
                },
            }
        }
        self.next = batch.first;
        batch.oldest = self.oldest.min(batch.first);
        Ok(batch)
    }

    /// The record of that number, if there is a whole one.
    fn read(&mut self, number: u64) -> Result<Option<Vec<u8>>, SpoolError> {
        if let Some(at) = self.at.as_mut().filter(|at| at.number == number)
            && let Some(record) = at.frame(&self.dir)?
        {
            return Ok(Some(record));
        }
        self.at = None;
        let Some((first, path)) =
            segments(&self.dir)?.into_iter().rev().find(|(first, _)| *first <= number)
        else {
            return Ok(None);
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io("opening", &path))?,
        };
        let mut magic = [0; MAGIC.len()];
        if file.read_exact_at(&mut magic, 0).is_err() || &magic != MAGIC {
            return Ok(None);
        }
        let mut at = Position { file, offset: MAGIC.len() as u64, number: first };
        while at.number <= number {
            let Some(record) = at.frame(&path)? else { return Ok(None) };
            if at.number > number {
                self.at = Some(at);
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Position {
    /// The frame here, if there is a whole one; then this is where the next one is.
    fn frame(&mut self, path: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
        let mut head = [0; HEAD];
        if !read_whole(&self.file, &mut head, self.offset, path)? {
            return Ok(None);
        }
        let Some(head) = Head::read(&head).filter(|head| head.number == self.number) else {
            return Ok(None);
        };
        let mut record = vec![0; head.len];
        if !read_whole(&self.file, &mut record, self.offset + HEAD as u64, path)?
            || !head.fits(&record)
        {
            return Ok(None);
        }
        self.offset += (HEAD + head.len) as u64;
        self.number += 1;
        Ok(Some(record))
    }
}

/// Whether there were as many bytes.
fn read_whole(file: &File, into: &mut [u8], at: u64, path: &Path) -> Result<bool, SpoolError> {
    match file.read_exact_at(into, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(io("reading", path)(error)),
    }
}

/// The segments of a spool, oldest first, each with the number that its name says.
fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, SpoolError> {
    let mut segments = Vec::new();
    for file in fs::read_dir(dir).map_err(io("reading", dir))? {
        let path = file.map_err(io("reading", dir))?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".seg")?.parse::<u64>().ok());
        if let Some(number) = number {
            segments.push((number, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Cuts off what a crash left half-written at the end of a dead writer's spool, and says
/// so by a gap record under the next number. Returns that number when there was something.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn mend(
    dir: &Path,
    gap: impl FnOnce(u64) -> Vec<u8>,
) -> Result<Option<u64>, SpoolError> {
    let Some((first, path)) = segments(dir)?.pop() else { return Ok(None) };
    let bytes = fs::read(&path).map_err(io("reading", &path))?;
    let scan = frame::scan(&bytes);
    if scan.valid == bytes.len() || bytes.is_empty() {
        return Ok(None);
    }
    let file = OpenOptions::new().write(true).open(&path).map_err(io("opening", &path))?;
    let number = scan.last.map_or(first, |last| last + 1);
    let mut mended = if scan.valid == 0 { MAGIC.to_vec() } else { Vec::new() };
    mended.extend(frame::encode(number, &gap(number)).unwrap_or_default());
    file.set_len(scan.valid as u64).map_err(io("cutting", &path))?;
    file.write_all_at(&mended, scan.valid as u64).map_err(io("mending", &path))?;
    file.sync_data().map_err(io("syncing", &path))?;
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Gap, GapReason, Spool};

    fn filled(dir: &Path, records: u64) -> Spool {
        let mut spool = Spool::create(dir, 64 << 20, "n").unwrap();
        for _ in 0..records {
            let mut entry = Entry::from(Gap::new(GapReason::Torn, None, &"x".repeat(1000)));
            spool.append(&mut entry).unwrap();
        }
        spool
    }

    #[test]
    fn a_torn_tail_is_cut_off_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let spool = filled(dir.path(), 3);
        let (_, path) = segments(spool.dir()).unwrap().pop().unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        let cut = OpenOptions::new().write(true).open(&path).unwrap();
        cut.set_len(whole - 5).unwrap();
        assert_eq!(mend(spool.dir(), |number| format!("gap {number}").into()).unwrap(), Some(3));
        let batch = SpoolReader::open(spool.dir()).unwrap().batch(u64::MAX, 10, 1 << 20).unwrap();
        assert_eq!((batch.first, batch.records.len()), (1, 3));
        assert_eq!(batch.records[2], b"gap 3");
        assert_eq!(mend(spool.dir(), |_| Vec::new()).unwrap(), None);
    }

    #[test]
    fn a_broken_segment_is_stepped_over_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let spool = filled(dir.path(), 2500);
        let list = segments(spool.dir()).unwrap();
        assert!(list.len() >= 3);
        let middle = OpenOptions::new().write(true).open(&list[1].1).unwrap();
        middle.write_all_at(b"\xff", 3000).unwrap();
        let mut reader = SpoolReader::open(spool.dir()).unwrap();
        reader.seek(list[1].0);
        let before = reader.batch(2500, 10, 1 << 20).unwrap();
        assert_eq!((before.first, before.oldest), (list[1].0, 1));
        assert!(before.records.len() < 5);
        reader.seek(before.first + before.records.len() as u64);
        let after = reader.batch(2500, 10, 1 << 20).unwrap();
        assert_eq!((after.first, after.oldest), (list[2].0, list[2].0));
    }
}
