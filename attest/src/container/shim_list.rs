//! The files of the lists that shims keep, where the kernel keeps none: a shim appends, and
//! the node's agent, which alone talks to the TPM, anchors what was appended.
//!
//! ```text
//! SEQ.json     whose list it is, and its secret
//! SEQ.list     the list, as the kernel would have it
//! SEQ.events   64 bytes for each event: its tag, its value
//! pcr          the PCR that they are anchored in, which the agent is configured for
//! ```
//!
//! The agent makes the folder, on a file system that a reboot empties; where there is none,
//! nobody would anchor a list, and none is kept.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lacre_types::Digest;
use serde::{Deserialize, Serialize};

use super::{Key, Recorded, Secret, Tagged};
use crate::pcr::ListPcr;

/// The bytes of an event.
const EVENT: usize = 64;

/// How many numbers are tried for a list; each try is a list that was made at the same moment.
const TRIES: u64 = 64;

/// The most bytes of a list and its events, some 40,000 lines: what a container may take of
/// the memory that the folder is in. At the end is the line that says that lines are missing.
pub const LIMIT: u64 = 8 << 20;

/// What a line and its event have beside the name, at most.
const LINE: u64 = 256;

/// The most bytes of what is said of a list.
const ABOUT: u64 = 64 << 10;

/// Whose list it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What names the container on its node, `NAMESPACE--ID` as the kernel's lists.
    pub id: String,
    /// Its image, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its secret.
    pub secret: Secret,
}

/// A container's list while it grows.
#[derive(Debug)]
pub struct Kept {
    recorded: Recorded,
    list: File,
    events: File,
    /// How many bytes may still be written; `None`: it ran out of room, and is final.
    left: Option<u64>,
}

pub(super) fn path(folder: &Path, seq: u64, kind: &str) -> PathBuf {
    folder.join(format!("{seq}.{kind}"))
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options().append(true).create_new(true).mode(0o600).open(path)
}

/// Says whose list it is, to who looks from now on.
pub(super) fn tell(folder: &Path, seq: u64, about: &About) -> io::Result<()> {
    create(&path(folder, seq, "part"))?.write_all(&serde_json::to_vec(about)?)?;
    fs::rename(path(folder, seq, "part"), path(folder, seq, "json"))
}

/// Tells shims which PCR their lists are anchored in.
///
/// # Errors
/// When its file can't be written.
pub fn tell_pcr(folder: &Path, pcr: ListPcr) -> io::Result<()> {
    let part = folder.join("pcr.part");
    fs::write(&part, format!("{}\n", pcr.index()))?;
    fs::rename(part, folder.join("pcr"))
}

/// The PCR that the folder's lists are anchored in. An agent of before it could be chosen has
/// told of none.
///
/// # Errors
/// When its file can't be read, or holds something else.
pub fn pcr(folder: &Path) -> io::Result<ListPcr> {
    let path = folder.join("pcr");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ListPcr::SHIM),
        Err(error) => return Err(error),
    };
    text.trim().parse().ok().and_then(ListPcr::for_shims).ok_or_else(|| {
        let none = format!("{} names no PCR that shims' lists can be in", path.display());
        io::Error::new(io::ErrorKind::InvalidData, none)
    })
}

impl Kept {
    /// Begins a container's list. `seq` is a number that grows from one list to the next,
    /// such as the time since boot.
    ///
    /// # Errors
    /// When its files can't be made.
    pub fn create(folder: &Path, seq: u64, about: &About) -> io::Result<Self> {
        let pcr = pcr(folder)?.index();
        let mut tries = (seq..seq.saturating_add(TRIES)).map(|seq| {
            let list = create(&path(folder, seq, "list"))?;
            Ok::<_, io::Error>((seq, list))
        });
        let free = tries.find(
            |made| !matches!(made, Err(error) if error.kind() == io::ErrorKind::AlreadyExists),
        );
        let (seq, list) = free.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))?;
        let events = create(&path(folder, seq, "events"))?;
        // Whoever can lock it knows that nobody writes any more.
        events.lock()?;
        let (recorded, event) = Recorded::create(Key::new(&about.secret, seq, &about.id), pcr);
        let mut kept = Self { recorded, list, events, left: Some(LIMIT) };
        kept.hand(event)?;
        // Last: what it tells of is there.
        tell(folder, seq, about)?;
        Ok(kept)
    }

    /// Adds what was measured.
    ///
    /// # Errors
    /// When it can't be written: then the list is over.
    pub fn push(&mut self, digest: &Digest, name: &[u8]) -> io::Result<()> {
        self.line(name.len(), |recorded| recorded.file(digest, name))
    }

    /// Adds what ran and could not be measured, as IMA does: by its name, and a digest of
    /// zeros.
    ///
    /// # Errors
    /// When it can't be written: then the list is over.
    pub fn violation(&mut self, name: &[u8]) -> io::Result<()> {
        self.line(name.len(), |recorded| recorded.violation(name))
    }

    /// Adds the line that says that lines are missing here.
    ///
    /// # Errors
    /// When it can't be written: then the list is over.
    pub fn overflow(&mut self) -> io::Result<()> {
        self.line(0, Recorded::overflow)
    }

    /// Whether it ran out of room: it says so, is final, and takes no more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.left.is_none()
    }

    /// Ends it: nothing can be added to it unseen.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn close(mut self) -> io::Result<()> {
        if self.is_full() { Ok(()) } else { self.end() }
    }

    fn end(&mut self) -> io::Result<()> {
        let event = self.recorded.close();
        self.hand(event)
    }

    fn line(
        &mut self,
        name: usize,
        make: impl FnOnce(&mut Recorded) -> (Vec<u8>, Tagged),
    ) -> io::Result<()> {
        let Some(left) = self.left else { return Ok(()) };
        self.left = left.checked_sub(LINE + name as u64);
        if self.is_full() {
            let (entry, event) = self.recorded.overflow();
            self.write(&entry, event)?;
            return self.end();
        }
        let (entry, event) = make(&mut self.recorded);
        self.write(&entry, event)
    }

    /// The line first: an event that is anchored before its line is there would look like a
    /// list that was cut.
    fn write(&mut self, entry: &[u8], event: Tagged) -> io::Result<()> {
        self.list.write_all(entry)?;
        self.hand(event)
    }

    fn hand(&mut self, (tag, value): Tagged) -> io::Result<()> {
        self.events.write_all(&[tag, value].concat())
    }
}

/// The lists of a folder, by their numbers.
///
/// # Errors
/// When the folder can't be read. A list of which nothing can be read is left out.
pub fn lists(folder: &Path) -> io::Result<Vec<(u64, About)>> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is = path.extension().is_some_and(|extension| extension == "json");
        let seq = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        let Some(seq) = seq.filter(|_| is) else { continue };
        let mut text = Vec::new();
        // One that goes meanwhile is gone.
        let Ok(file) = File::open(&path) else { continue };
        if file.take(ABOUT).read_to_end(&mut text).is_ok()
            && let Ok(about) = serde_json::from_slice(&text)
        {
            lists.push((seq, about));
        }
    }
    lists.sort_unstable_by_key(|(seq, _)| *seq);
    Ok(lists)
}

/// The events of a list from that one on. Half an event at the end is still being written.
///
/// # Errors
/// When they can't be read.
pub fn events(folder: &Path, seq: u64, from: u64) -> io::Result<Vec<Tagged>> {
    use std::os::unix::fs::FileExt as _;
    let file = File::open(path(folder, seq, "events"))?;
    let len = file.metadata()?.len();
    let start = from.saturating_mul(EVENT as u64).min(len);
    let mut bytes = vec![0; usize::try_from(len - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, start)?;
    let (events, _) = bytes.as_chunks::<EVENT>();
    let halves = events.iter().map(|event| {
        let (mut tag, mut value) = ([0; 32], [0; 32]);
        tag.copy_from_slice(&event[..32]);
        value.copy_from_slice(&event[32..]);
        (tag, value)
    });
    Ok(halves.collect())
}

/// Whether nobody writes a list any more. Ask before its events are read: then they are all.
///
/// # Errors
/// When it can't be asked.
pub fn is_left(folder: &Path, seq: u64) -> io::Result<bool> {
    match File::open(path(folder, seq, "events"))?.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a list.
pub fn remove(folder: &Path, seq: u64) {
    for kind in ["json", "events", "list"] {
        let _ = fs::remove_file(path(folder, seq, kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{Audited, audit};
    use crate::ima::{Form, Stream};
    use lacre_types::Algorithm;

    #[test]
    fn a_list_that_is_full_says_so_and_is_final() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::new([7; 32]);
        let about = About { id: "test--web".to_owned(), image: None, secret };
        let mut kept = Kept::create(folder.path(), 5, &about).unwrap();
        // Whoever runs the container names its files.
        let name = |n: u64| format!("/{n:04000}").into_bytes();
        let mut count = 0;
        while !kept.is_full() {
            kept.push(&Digest::sha256([1; 32]), &name(count)).unwrap();
            count += 1;
        }
        kept.push(&Digest::sha256([1; 32]), b"/bin/a").unwrap();
        kept.overflow().unwrap();
        kept.violation(b"/bin/b").unwrap();
        assert!(!is_left(folder.path(), 5).unwrap(), "its writer is there");
        kept.close().unwrap();
        assert!(is_left(folder.path(), 5).unwrap());
        let list = fs::read(folder.path().join("5.list")).unwrap();
        let all = events(folder.path(), 5, 0).unwrap();
        let bytes = (list.len() + all.len() * EVENT) as u64;
        assert!((LIMIT / 2..=LIMIT + 2 * LINE).contains(&bytes), "{bytes}");
        let (mut lines, mut last) = (Vec::new(), Vec::new());
        let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
        let fed = stream.feed(&list, |_, entry| {
            lines.push(entry.event(Algorithm::Sha256).unwrap());
            last = entry.name().unwrap().to_vec();
        });
        fed.unwrap();
        assert_eq!(last, crate::container::OVERFLOW);
        assert_eq!(lines.len() as u64, count);
        let key = Key::new(&about.secret, 5, &about.id);
        let values: Vec<_> = all.iter().map(|(_, value)| *value).collect();
        let audited = audit(&key, &Audited::new(), &lines, &values, None).unwrap();
        assert!(audited.closed && audited.lines == count, "{audited:?}");
    }

    #[test]
    fn what_is_kept_is_what_its_events_vouch_for() {
        let folder = tempfile::tempdir().unwrap();
        let id = "test--web".to_owned();
        let about = About { id, image: None, secret: Secret::new([7; 32]) };
        let mut kept = Kept::create(folder.path(), 5, &about).unwrap();
        let other = Kept::create(folder.path(), 5, &about).unwrap();
        kept.push(&Digest::sha256([1; 32]), b"/bin/a b").unwrap();
        kept.overflow().unwrap();
        kept.close().unwrap();
        drop(other);
        let found = lists(folder.path()).unwrap();
        assert_eq!(found, [(5, about.clone()), (6, about.clone())]);
        let all = events(folder.path(), 5, 0).unwrap();
        assert_eq!(events(folder.path(), 5, 3).unwrap(), all[3..]);
        assert_eq!(events(folder.path(), 5, 9).unwrap(), []);
        let list = fs::read(folder.path().join("5.list")).unwrap();
        let mut lines = Vec::new();
        let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
        stream.feed(&list, |_, entry| lines.push(entry.event(Algorithm::Sha256).unwrap())).unwrap();
        let key = Key::new(&about.secret, 5, &about.id);
        let values: Vec<_> = all.iter().map(|(_, value)| *value).collect();
        let audited = audit(&key, &Audited::new(), &lines, &values, None).unwrap();
        assert!(audited.closed && audited.lines == 2 && audited.events == 4, "{audited:?}");
        remove(folder.path(), 5);
        assert_eq!(lists(folder.path()).unwrap().len(), 1);
    }
}
