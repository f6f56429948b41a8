//! The kernel's lists of containers that have ended: the kernel frees a list with its
//! container, and the node's agent may have shown none of it, or not all, by then. So the
//! shim writes it down when it is final. It is the kernel's still: a line that is changed, or
//! left out, is not what the TPM holds.
//!
//! ```text
//! SEQ.json     whose list it is, and its secret, from the first line on
//! SEQ.list     the list, once it is final
//! ```
//!
//! The agent makes the folder, on a file system that a reboot empties; where there is none,
//! nothing is written down.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::shim_list::{About, LIMIT, create, path, tell};

pub use super::shim_list::{lists, remove};

/// Where the folder is, in that of the lists that shims keep.
pub const FOLDER: &str = "kernel";

/// The most bytes of all lists together, which are in memory: the oldest give way.
const ROOM: u64 = 64 << 20;

/// Says whose list the kernel has begun.
///
/// # Errors
/// When it can't be written.
pub fn begin(folder: &Path, seq: u64, about: &About) -> io::Result<()> {
    tell(folder, seq, about)
}

/// Whether that list was begun.
#[must_use]
pub fn is_begun(folder: &Path, seq: u64) -> bool {
    about_of(folder, seq).exists()
}

/// Writes down a list that is final; one without lines, too, whose events are anchored.
///
/// # Errors
/// When it can't be read or written, or has more than 8 MiB: then it is forgotten, too.
pub fn end(folder: &Path, seq: u64, list: impl Read) -> io::Result<()> {
    let part = path(folder, seq, "part");
    let written = match create(&part) {
        Ok(file) => write(file, list, folder),
        // Another process does.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => Err(error),
    };
    let written = match written {
        Ok(_) => return fs::rename(part, list_of(folder, seq)),
        Err(error) => error,
    };
    let _ = fs::remove_file(part);
    remove(folder, seq);
    Err(written)
}

fn write(mut file: File, list: impl Read, folder: &Path) -> io::Result<u64> {
    let mut bytes = Vec::new();
    let len = list.take(LIMIT + 1).read_to_end(&mut bytes)? as u64;
    if len > LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    make_room(folder, len)?;
    file.write_all(&bytes)?;
    Ok(len)
}

/// Removes the oldest until so many bytes more have room.
fn make_room(folder: &Path, wanted: u64) -> io::Result<()> {
    let mut all = Vec::new();
    for (seq, _) in lists(folder)? {
        if let Ok(metadata) = fs::metadata(list_of(folder, seq)) {
            all.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), seq, metadata.len()));
        }
    }
    all.sort_unstable();
    let mut taken: u64 = all.iter().map(|(_, _, len)| len).sum();
    for (_, seq, len) in all {
        if taken + wanted <= ROOM {
            break;
        }
        remove(folder, seq);
        taken -= len;
    }
    Ok(())
}

/// The file that says whose list it is.
#[must_use]
pub fn about_of(folder: &Path, seq: u64) -> PathBuf {
    path(folder, seq, "json")
}

/// The file of a list, which is there once the list is final.
#[must_use]
pub fn list_of(folder: &Path, seq: u64) -> PathBuf {
    path(folder, seq, "list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Secret;

    fn about(id: &str) -> About {
        About { id: id.to_owned(), image: Some("demo:1".to_owned()), secret: Secret::new([7; 32]) }
    }

    #[test]
    fn a_list_is_there_once_it_is_final() {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path(), 3, &about("ns--a")).unwrap();
        assert_eq!(lists(dir.path()).unwrap(), [(3, about("ns--a"))]);
        assert!(!list_of(dir.path(), 3).exists());
        end(dir.path(), 3, &b"lines"[..]).unwrap();
        assert_eq!(fs::read(list_of(dir.path(), 3)).unwrap(), b"lines");
        // One that never ran anything has its events, which must be accounted for.
        begin(dir.path(), 4, &about("ns--empty")).unwrap();
        end(dir.path(), 4, io::empty()).unwrap();
        assert_eq!(fs::read(list_of(dir.path(), 4)).unwrap(), b"");
    }

    #[test]
    fn what_can_not_be_written_down_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path(), 4, &about("ns--long")).unwrap();
        let error = end(dir.path(), 4, io::repeat(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_oldest_give_way() {
        let dir = tempfile::tempdir().unwrap();
        let count = ROOM / LIMIT;
        for seq in 0..=count {
            begin(dir.path(), seq, &about("ns--a")).unwrap();
            end(dir.path(), seq, io::repeat(1).take(LIMIT)).unwrap();
            let file = fs::File::options().append(true).open(list_of(dir.path(), seq)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seq))
                .unwrap();
        }
        let left: Vec<_> = lists(dir.path()).unwrap().into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(left, (1..=count).collect::<Vec<_>>());
    }
}
