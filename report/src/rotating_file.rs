//! A file of lines that several processes append to and one puts aside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Rotation;

/// Appends whole lines to a file that other processes append to as well.
///
/// Every write is one `write(2)` of whole lines to a file opened with `O_APPEND`, so lines
/// of different shims never mix. Before each write the file is opened anew if its name
/// leads to another one: so both its own rotation and logrotate's `create` work.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    /// The last write left part of a line in the file.
    torn: bool,
}

impl RotatingFile {
    pub(crate) fn new(path: &Path, rotation: Rotation) -> Self {
        Self { path: path.to_owned(), rotation, file: None, torn: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whole lines. When it fails, tells how many bytes of whole lines got in.
    pub(crate) fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if lines.is_empty() {
            return Ok(());
        }
        self.settle().map_err(|error| (0, error))?;
        let Some(mut file) = self.file.as_ref() else {
            return Err((0, io::ErrorKind::NotFound.into()));
        };
        // Ends a line that was cut short, so that it alone is broken.
        let mut text = Vec::new();
        let out = if self.torn {
            text.push(b'\n');
            text.extend_from_slice(lines);
            &text
        } else {
            lines
        };
        match file.write(out) {
            Ok(written) if written == out.len() => {
                self.torn = false;
                Ok(())
            }
            Ok(written) => {
                let lead = usize::from(self.torn);
                let whole = out[..written].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                self.torn = if written == 0 { self.torn } else { whole != written };
                Err((whole.saturating_sub(lead), io::ErrorKind::StorageFull.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.write(lines),
            Err(error) => Err((0, error)),
        }
    }

    /// Sees to it that the open file is the one that has the name, and is not too big.
    fn settle(&mut self) -> io::Result<()> {
        let same = |file: &File, path: &Path| -> Option<u64> {
            let (open, named) = (file.metadata().ok()?, fs::metadata(path).ok()?);
            (open.ino() == named.ino() && open.dev() == named.dev()).then_some(open.len())
        };
        match self.file.as_ref().and_then(|file| same(file, &self.path)) {
            None => self.reopen(),
            Some(size) if self.rotation.bytes > 0 && size >= self.rotation.bytes => {
                self.rotate()?;
                self.reopen()
            }
            Some(_) => Ok(()),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        self.torn = is_torn(&file)?;
        self.file = Some(file);
        Ok(())
    }

    /// Moves the file to `.1`, and those before it one further. One process does; the
    /// others find another file under the name, or that it was done.
    fn rotate(&self) -> io::Result<()> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.with_added_extension("lock"))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() >= self.rotation.bytes => {}
            Ok(_) => return Ok(()),
            // Who moved it away has not opened the next one yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let old = |n: u32| self.path.with_added_extension(n.to_string());
        for n in (1..self.rotation.keep.max(1)).rev() {
            match fs::rename(old(n), old(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match fs::rename(&self.path, old(1)) {
            // Logrotate, which does not know of the lock, was there first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Whether the file ends in half a line: somebody was killed, or the disk was full, in the
/// midst of writing it. One that is being written right now grows, or is soon whole.
fn is_torn(file: &File) -> io::Result<bool> {
    let look = || -> io::Result<(u64, bool)> {
        let (len, mut last) = (file.metadata()?.len(), [b'\n']);
        Ok((len, len > 0 && file.read_at(&mut last, len - 1)? == 1 && last != [b'\n']))
    };
    let mut before = look()?;
    while before.1 {
        std::thread::sleep(Duration::from_millis(20));
        let now = look()?;
        if now == before {
            return Ok(true);
        }
        before = now;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logrotate_may_take_the_file_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let mut out = RotatingFile::new(&path, Rotation { bytes: 0, keep: 0 });
        out.write(b"a\n").unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        out.write(b"b\n").unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!((text(&dir.path().join("old")), text(&path)), ("a\n".into(), "b\n".into()));
    }

    #[test]
    fn a_file_that_another_has_just_moved_away_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        let mut writers = [0, 1].map(|_| RotatingFile::new(&path, Rotation { bytes: 2, keep: 2 }));
        for writer in &mut writers {
            writer.write(b"a\n").unwrap();
        }
        // Both found it too big; the first has not opened the next one.
        writers[0].rotate().unwrap();
        writers[1].rotate().unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert!(!path.exists() && !path.with_added_extension("2").exists());
        for writer in &mut writers {
            writer.reopen().unwrap();
        }
        writers[1].write(b"b\n").unwrap();
        assert_eq!(
            (text(&path.with_added_extension("1")), text(&path)),
            ("a\na\n".into(), "b\n".into())
        );
    }
}
