//! The spools of dead shims.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use crate::entry::Entry;
use crate::events::Events;
use crate::gap::{Gap, GapReason};
use crate::log_note::Note;
use crate::spool::reader::{SpoolReader, mend};
use crate::spool::{SpoolError, io};

/// The most dead spools that one process takes on at a time.
const AT_ONCE: usize = 64;

/// A spool that was never finished being made is removed after this time.
const UNFINISHED: Duration = Duration::from_secs(3600);

/// A dead process's spool, which is ours as long as this value lives.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) stream: String,
    pub(crate) dir: PathBuf,
    pub(crate) reader: SpoolReader,
    pub(crate) asked: bool,
    pub(crate) records: u64,
    _lock: File,
}

impl Orphan {
    pub(crate) fn remove(self) -> Result<(), SpoolError> {
        fs::remove_dir_all(&self.dir).map_err(io("removing", &self.dir))
    }
}

/// The dead spools in that directory, those of the living left out.
pub(crate) fn adopt(spools: &Path, node: &str, events: &dyn Events) -> Vec<Orphan> {
    let mut orphans = Vec::new();
    let Ok(entries) = fs::read_dir(spools) else { return orphans };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let unfinished = name.starts_with(".new-");
        if !unfinished && (name.len() != 32 || !name.bytes().all(|b| b.is_ascii_hexdigit())) {
            continue;
        }
        let Some(lock) = lock(&path) else { continue };
        if unfinished {
            let age = lock.metadata().ok().and_then(|m| m.modified().ok());
            let age = age.and_then(|then| SystemTime::now().duration_since(then).ok());
            if age.is_some_and(|age| age > UNFINISHED) {
                let _ = fs::remove_dir_all(&path);
            }
            continue;
        }
        let stream = name.to_owned();
        let opened = mend(&path, |number| torn(&stream, number, node))
            .and_then(|mended| Ok((mended, SpoolReader::open(&path)?)));
        match opened {
            Ok((mended, reader)) => {
                if let Some(number) = mended {
                    events.note(Note::Mended { stream: stream.clone(), number });
                }
                orphans.push(Orphan {
                    stream,
                    dir: path,
                    reader,
                    asked: false,
                    records: 0,
                    _lock: lock,
                });
            }
            Err(error) => events.note(Note::Stuck(stream, error.into())),
        }
        if orphans.len() == AT_ONCE {
            break;
        }
    }
    orphans
}

/// How many dead spools there are, those that somebody has taken on left out.
pub(crate) fn left(spools: &Path) -> u64 {
    fs::read_dir(spools).map_or(0, |entries| {
        entries.flatten().filter(|entry| lock(&entry.path()).is_some()).count() as u64
    })
}

/// The lock of a spool whose writer is dead, and which is still there.
fn lock(dir: &Path) -> Option<File> {
    let file = File::open(dir).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let (opened, named) = (file.metadata().ok()?, fs::symlink_metadata(dir).ok()?);
    (named.is_dir() && opened.ino() == named.ino() && opened.dev() == named.dev()).then_some(file)
}

fn torn(stream: &str, number: u64, node: &str) -> Vec<u8> {
    let mut entry = Entry::from(Gap::new(GapReason::Torn, None, node));
    entry.number(Some(&stream.into()), Some(number));
    entry.encode()
}
