//! The segments of the ledger on disk: locked, opened after a crash, rotated.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::lines;
use super::table::Table;

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Another server has it.
    #[error("{} is in use by another lacre-policyd: end it, or give --state another directory", .0.display())]
    InUse(PathBuf),
    /// The kernel refused.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The newest segment does not begin as one does.
    #[error(
        "{} is not a ledger of reports, or its beginning is lost: bring it back from a backup, \
         or move it away, after which every stream begins with a line that says what is missing",
        .0.display()
    )]
    Beginning(PathBuf),
    /// The thread cannot be started.
    #[error("starting the thread that writes reports")]
    Thread(#[source] io::Error),
}

/// What there was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The newest segment.
    pub file: PathBuf,
    /// Streams known.
    pub streams: usize,
    /// Bytes of half a line that a crash left; they were never acknowledged, and are gone.
    pub cut: usize,
    /// Lines that cannot be read, and stay as they are.
    pub broken: Vec<usize>,
}

/// The segments, of which the newest is written.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    _lock: File,
    number: u64,
    file: File,
    len: u64,
    limit: u64,
    /// A write failed, and what it left could not be cut off.
    dirty: bool,
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError + use<> {
    let path = path.to_owned();
    move |source| FilesError::Io { doing, path, source }
}

impl Files {
    pub(super) fn open(dir: &Path, limit: u64) -> Result<(Self, Table, Opened), FilesError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("making", dir))?;
        let lock = File::open(dir).map_err(io("opening", dir))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            match errno {
                rustix::io::Errno::WOULDBLOCK => FilesError::InUse(dir.to_owned()),
                errno => io("locking", dir)(errno.into()),
            }
        })?;
        let number = newest(dir)?;
        if number == 0 {
            let table = Table::default();
            let (file, len) = begin(dir, 1, &table).map_err(io("beginning a ledger in", dir))?;
            let opened = Opened { file: path(dir, 1), streams: 0, cut: 0, broken: Vec::new() };
            let dir = dir.to_owned();
            return Ok((
                Self { dir, _lock: lock, number: 1, file, len, limit, dirty: false },
                table,
                opened,
            ));
        }
        let path = path(dir, number);
        let bytes = fs::read(&path).map_err(io("reading", &path))?;
        let read = lines::read(&bytes);
        if !read.whole {
            return Err(FilesError::Beginning(path));
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(io("opening", &path))?;
        if read.valid < bytes.len() {
            file.set_len(read.valid as u64).map_err(io("cutting", &path))?;
        }
        // What a crash left unsynced is counted as there from now on.
        file.sync_data().map_err(io("syncing", &path))?;
        let opened = Opened {
            file: path,
            streams: read.table.len(),
            cut: bytes.len() - read.valid,
            broken: read.broken,
        };
        let (dir, len) = (dir.to_owned(), read.valid as u64);
        Ok((Self { dir, _lock: lock, number, file, len, limit, dirty: false }, read.table, opened))
    }

    /// Appends all of it, or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.dirty {
            self.file.set_len(self.len)?;
            self.dirty = false;
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.dirty = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Begins the next segment, with everything that is known. The old one stays, for
    /// whoever keeps or removes old reports.
    pub(super) fn next(&mut self, table: &Table) -> io::Result<()> {
        let (file, len) = begin(&self.dir, self.number + 1, table)?;
        (self.file, self.len) = (file, len);
        self.number += 1;
        // A beginning that is larger than a segment must not begin one after the other.
        self.limit = self.limit.max(2 * len);
        Ok(())
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("reports-{number:06}.jsonl"))
}

/// A new segment: whole, or not there.
fn begin(dir: &Path, number: u64, table: &Table) -> io::Result<(File, u64)> {
    let fresh = dir.join(".reports-next");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    let bytes = lines::begin(table);
    file.write_all(&bytes)?;
    file.sync_all()?;
    let path = path(dir, number);
    fs::rename(&fresh, &path)?;
    File::open(dir)?.sync_all()?;
    Ok((OpenOptions::new().append(true).open(&path)?, bytes.len() as u64))
}

/// The number of the newest segment; 0 when there is none.
fn newest(dir: &Path) -> Result<u64, FilesError> {
    let mut newest = 0;
    for entry in fs::read_dir(dir).map_err(io("reading", dir))? {
        let name = entry.map_err(io("reading", dir))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("reports-")?.strip_suffix(".jsonl")?.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}
