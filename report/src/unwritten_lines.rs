//! Lines that the record file refused up to the end of the process that had them.
//!
//! `STATE/unwritten/STREAM` holds those of one process: the path of its record file, then the
//! lines as they would have stood there. The next process of the node whose record file is that
//! one, and takes lines, appends them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lacre_sys::whole_file;
use rustix::fs::OFlags;

/// How many processes' lines are kept, of 1 MiB each at most: who would be one more counts its
/// own as lost.
const FILES: usize = 64;

/// The folder of a state directory.
#[derive(Debug, Clone)]
pub(crate) struct Unwritten {
    folder: PathBuf,
    records: PathBuf,
}

impl Unwritten {
    /// Below `state`, of those who write to `records`.
    pub(crate) fn below(state: &Path, records: &Path) -> Self {
        Self { folder: state.join("unwritten"), records: records.to_owned() }
    }

    /// Keeps the lines of a stream.
    pub(crate) fn keep(&self, stream: &str, lines: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if fs::read_dir(&self.folder)?.count() >= FILES {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        whole_file::put(&self.folder.join(stream), 0o600, |file| {
            file.write_all(self.records.as_os_str().as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(lines)
        })
    }

    /// Has the lines of others written by `write`, which tells how many bytes of whole lines it
    /// took where that is not all; then those that it did not take stay.
    pub(crate) fn take(&self, mut write: impl FnMut(&[u8]) -> Result<(), usize>) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            // Another process may be at it, or have been quicker.
            let Ok((_held, lines)) = self.open(&path) else { continue };
            match write(&lines) {
                Ok(()) => {
                    let _ = fs::remove_file(&path);
                }
                Err(done) => {
                    let rest = lines.get(done..).unwrap_or_default();
                    let stream = path.file_name().unwrap_or_default().to_string_lossy();
                    // Where not even that can be, some of them come twice.
                    if done > 0 {
                        let _ = self.keep(&stream, rest);
                    }
                    return;
                }
            }
        }
    }

    /// The lines of one file, and a hold on it.
    fn open(&self, path: &Path) -> io::Result<(File, Vec<u8>)> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        file.try_lock()?;
        // Its name is gone where another had it before.
        if !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut whole = Vec::new();
        file.read_to_end(&mut whole)?;
        let head = [self.records.as_os_str().as_bytes(), b"\n"].concat();
        let lines = whole.strip_prefix(&head[..]).ok_or(io::ErrorKind::InvalidData)?;
        Ok((file, lines.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_taken_once_by_whom_it_concerns() {
        let dir = tempfile::tempdir().unwrap();
        let of = |records: &str| Unwritten::below(dir.path(), Path::new(records));
        let (own, other) = (of("/own"), of("/other"));
        let taken = |whose: &Unwritten| {
            let mut all = Vec::new();
            whose.take(|lines| {
                all.extend_from_slice(lines);
                Ok(())
            });
            String::from_utf8(all).unwrap()
        };
        assert_eq!(taken(&own), "");
        own.keep("a1", b"one\ntwo\n").unwrap();
        assert_eq!(taken(&other), "");
        own.take(|_| Err(4));
        let (held, _) = own.open(&dir.path().join("unwritten/a1")).unwrap();
        assert_eq!(taken(&own), "", "another process is at it");
        drop(held);
        assert_eq!((taken(&own), taken(&own)), ("two\n".to_owned(), String::new()));
    }

    #[test]
    fn there_are_no_more_than_the_bound() {
        let dir = tempfile::tempdir().unwrap();
        let own = Unwritten::below(dir.path(), Path::new("/own"));
        for number in 0..FILES {
            own.keep(&number.to_string(), b"x\n").unwrap();
        }
        assert!(own.keep("more", b"x\n").is_err());
    }
}
