//! The node's one `aggregate` of the lists that shims keep, and the PCR beneath it.
//!
//! Shims are processes of their own and share one PCR, so that every extend happens under
//! a lock, and in three steps: the batch is written down as intended, the PCR is extended,
//! the batch joins `aggregate`. Who finds an intended batch asks the PCR which step the one
//! before it did not come to. The folder is on a file system that a reboot empties, as it
//! does the PCR.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lacre_types::{Algorithm, Digest};

use super::error::TpmError;
use crate::container::{Aggregate, AggregateError, Batch, Event, Recorder, Tagged, parse_line};

/// What a PCR can do.
pub trait Extend: Send {
    /// Extends it, each bank with its event.
    ///
    /// # Errors
    /// When nobody can tell that it was extended.
    fn extend(&mut self, index: u32, events: Vec<Digest>) -> Result<(), TpmError>;

    /// What its SHA-256 bank holds.
    ///
    /// # Errors
    /// When it can't be read.
    fn value(&mut self, index: u32) -> Result<Digest, TpmError>;
}

/// Why a batch was not anchored.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file of the journal.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The TPM.
    #[error("the batch waits: the TPM can't be extended")]
    Tpm(#[source] TpmError),
    /// `aggregate` is not what a journal writes.
    #[error("the journal's aggregate was altered")]
    Altered(#[source] AggregateError),
    /// The PCR holds neither what it held before the intended batch nor after it.
    #[error(
        "PCR {index} holds {value}, which the journal's aggregate does not lead to: \
             something else extends it, or the journal was altered; from the next boot on, \
             another PCR can be chosen (`lacre-attestd --shim-pcr`)"
    )]
    Diverged {
        /// Which PCR.
        index: u32,
        /// What it holds.
        value: Digest,
    },
}

/// The journal's folder.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
    pcr: u32,
    banks: Vec<Algorithm>,
}

impl Journal {
    /// The journal in that folder, for that PCR in those banks. SHA-256 is always one.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn open(folder: &Path, pcr: u32, banks: &[Algorithm]) -> Result<Self, JournalError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let io = |source| JournalError::Io { doing: "make", path: folder.to_owned(), source };
        made.map_err(io)?;
        let mut banks = banks.to_vec();
        banks.push(Algorithm::Sha256);
        banks.sort_unstable();
        banks.dedup();
        Ok(Self { folder: folder.to_owned(), pcr, banks })
    }

    /// The PCR.
    #[must_use]
    pub const fn pcr(&self) -> u32 {
        self.pcr
    }

    /// The PCR that `aggregate`'s lines name: lists that began in one can't go on in another
    /// before the next boot. `None`: nothing is anchored yet.
    ///
    /// # Errors
    /// When `aggregate` can't be read.
    pub fn begun(&self) -> Result<Option<u32>, JournalError> {
        Ok(self.last()?.map(|event| event.pcr))
    }

    /// `aggregate`.
    #[must_use]
    pub fn aggregate(&self) -> PathBuf {
        self.folder.join("aggregate")
    }

    /// `aggregate`'s text, with all that is extended; empty before the first batch.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self) -> Result<Vec<u8>, JournalError> {
        // Who holds the lock may have extended what has not joined yet.
        let _lock = self.lock()?;
        self.text()
    }

    fn text(&self) -> Result<Vec<u8>, JournalError> {
        match fs::read(self.aggregate()) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(JournalError::Io { doing: "read", path: self.aggregate(), source }),
        }
    }

    /// The list of a container.
    #[must_use]
    pub fn list(&self, seq: u64) -> PathBuf {
        self.folder.join(format!("{seq}.list"))
    }

    /// A number that no other container of this boot has.
    ///
    /// # Errors
    /// When the file that counts them can't be read or written.
    pub fn next_seq(&self) -> Result<u64, JournalError> {
        let _lock = self.lock()?;
        let path = self.folder.join("seq");
        let io =
            |doing| move |source| JournalError::Io { doing, path: self.folder.join("seq"), source };
        let last: u64 = match fs::read_to_string(&path) {
            Ok(text) => {
                let wrong = || io::Error::other("it holds no number");
                text.trim().parse().map_err(|_| wrong()).map_err(io("read"))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io("read")(error)),
        };
        self.put(&path, (last + 1).to_string().as_bytes())?;
        Ok(last + 1)
    }

    /// Anchors events as one batch.
    ///
    /// # Errors
    /// When they are not anchored: they can be handed in again.
    pub fn anchor(&self, tpm: &mut dyn Extend, events: &[Tagged]) -> Result<(), JournalError> {
        let _lock = self.lock()?;
        let joined = self.recover(tpm)?;
        // What was handed in before, and broke off after it was extended.
        let events = events.strip_prefix(joined.as_slice()).unwrap_or(events);
        if events.is_empty() {
            return Ok(());
        }
        let mut recorder = match self.last()? {
            Some(event) => Recorder::after(self.pcr, event.batch),
            None => {
                let start = tpm.value(self.pcr).map_err(JournalError::Tpm)?;
                let bytes = *start.as_bytes().first_chunk().unwrap_or(&[0; 32]);
                let (recorder, first) = Recorder::begin(self.pcr, bytes);
                self.commit(tpm, &first)?;
                recorder
            }
        };
        self.commit(tpm, &recorder.batch(events))
    }

    fn commit(&self, tpm: &mut dyn Extend, batch: &Batch) -> Result<(), JournalError> {
        let intent = self.folder.join("intent");
        self.put(&intent, batch.text.as_bytes())?;
        let events = self.banks.iter().map(|bank| batch.digest(*bank)).collect();
        tpm.extend(self.pcr, events).map_err(JournalError::Tpm)?;
        self.join(&batch.text)
    }

    /// An extended batch joins `aggregate`.
    fn join(&self, text: &str) -> Result<(), JournalError> {
        let path = self.aggregate();
        let io = |doing| move |source| JournalError::Io { doing, path: self.aggregate(), source };
        let mut file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("open"))?;
        file.write_all(text.as_bytes()).map_err(io("write"))?;
        let intent = self.folder.join("intent");
        fs::remove_file(&intent).map_err(|source| JournalError::Io {
            doing: "remove",
            path: intent,
            source,
        })
    }

    /// Ends what another shim, or this one, was kept from ending. Answers the events that
    /// turn out to be anchored.
    fn recover(&self, tpm: &mut dyn Extend) -> Result<Vec<Tagged>, JournalError> {
        let path = self.folder.join("intent");
        let intent = match fs::read_to_string(&path) {
            Ok(intent) => intent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(JournalError::Io { doing: "read", path, source }),
        };
        let done = || {
            let lines = intent.split_inclusive('\n').filter_map(|line| parse_line(line.as_bytes()));
            lines.map(|event| (event.tag, event.value)).collect()
        };
        let remove = || {
            let io = |source| JournalError::Io { doing: "remove", path: path.clone(), source };
            fs::remove_file(&path).map_err(io)
        };
        let mut text = self.text()?;
        // The batch may have joined in part: then its extend is done.
        let partial =
            (1..=intent.len()).rev().find(|len| text.ends_with(&intent.as_bytes()[..*len]));
        let joined = partial.is_some_and(|len| {
            let from = text.len() - len;
            from == 0 || text[from - 1] == b'\n'
        });
        if let (true, Some(len)) = (joined, partial) {
            self.append(&intent.as_bytes()[len..])?;
            return remove().map(|()| done());
        }
        let value = tpm.value(self.pcr).map_err(JournalError::Tpm)?;
        let replayed = |text: &[u8]| {
            let replayed = Aggregate::new([Algorithm::Sha256]).replay(text, Some(&value));
            replayed.map(|replayed| replayed.agrees && replayed.more == 0)
        };
        // The first batch is intended on whatever the PCR holds.
        let before = text.is_empty() && started(&intent) == Some(value)
            || replayed(&text).map_err(JournalError::Altered)?;
        if before {
            return remove().map(|()| Vec::new());
        }
        text.extend_from_slice(intent.as_bytes());
        if replayed(&text).map_err(JournalError::Altered)? {
            return self.join(&intent).map(|()| done());
        }
        Err(JournalError::Diverged { index: self.pcr, value })
    }

    fn append(&self, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.aggregate();
        let appended = File::options().append(true).open(&path);
        appended.and_then(|mut file| file.write_all(bytes)).map_err(|source| JournalError::Io {
            doing: "write",
            path,
            source,
        })
    }

    /// The last event; `None` before the first.
    fn last(&self) -> Result<Option<Event>, JournalError> {
        /// A line is at most this long.
        const LINE: u64 = 160;
        let path = self.aggregate();
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.aggregate())?;
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(LINE)))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => {
                let last = tail.split_inclusive(|byte| *byte == b'\n').next_back();
                let event = last.and_then(parse_line);
                let event = event.ok_or(JournalError::Altered(AggregateError::Line(u64::MAX)))?;
                Ok(Some(event))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JournalError::Io { doing: "read", path, source }),
        }
    }

    /// Writes a small file, whole or not at all.
    fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
        let part = path.with_extension("part");
        let write = || -> io::Result<()> {
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            fs::rename(&part, path)
        };
        write().map_err(|source| JournalError::Io { doing: "write", path: path.to_owned(), source })
    }

    fn lock(&self) -> Result<File, JournalError> {
        let path = self.folder.join("lock");
        let lock = || -> io::Result<File> {
            let file =
                File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|source| JournalError::Io { doing: "lock", path, source })
    }
}

/// What the first batch says that the PCR held before it.
fn started(text: &str) -> Option<Digest> {
    let event = parse_line(text.as_bytes())?;
    (event.batch == 0).then(|| Digest::sha256(event.value))
}
