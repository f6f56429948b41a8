//! A small file that lacre keeps for whoever comes after it: JSON, there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lacre_sys::whole_file;
use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The state of a guard is a few hundred bytes a container, a charter some kilobytes; the
/// largest part is the policy, which has a bound of its own.
const SIZE_MAX: u64 = 8 << 20;

/// Why a file of lacre's own can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", .path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

pub(crate) fn failed<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> FileError + 'a {
    move |source| FileError { doing, path: path.to_owned(), source }
}

/// What is in it; nothing when it is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(file) = open(path).map_err(failed("opening", path))? else { return Ok(None) };
    parse(path, file).map(Some)
}

/// What this user has written, and nobody else can have; nothing when it is not there.
pub(crate) fn read_own<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(file) = open(path).map_err(failed("opening", path))? else { return Ok(None) };
    trusted(&file).map_err(failed("trusting", path))?;
    parse(path, file).map(Some)
}

/// A file, and nothing else that may have its name: nobody waits for the writer of a FIFO.
/// Nothing when it is not there.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::other("it is no file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, file: File) -> Result<T, FileError> {
    let mut bytes = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut bytes).map_err(failed("reading", path))?;
    serde_json::from_slice(&bytes).map_err(|error| failed("reading", path)(error.into()))
}

fn trusted(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() == own && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other("others own it or may write to it"))
}

/// Writes it, in the place of what was there: this user's alone, and a reader never sees half
/// of it.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec(value).map_err(|error| failed("writing", path)(error.into()))?;
    whole_file::put(path, 0o600, |file| file.write_all(&bytes)).map_err(failed("writing", path))
}

/// Removes it. There may be none.
pub(crate) fn remove(path: &Path) {
    // Of what can't be removed nobody could do more.
    let _ = whole_file::remove(path);
}
