//! Which files there are of a place, the oldest first.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Older files beside the one that is written: `.1` to `.5`.
const OLDER: u32 = 5;

/// Where records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A node's record file, and the older ones beside it.
    File(PathBuf),
    /// The directory of a policy server's reports.
    Reports(PathBuf),
}

/// One file, opened: it stays this one, whatever becomes of its name.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl Place {
    /// A directory is a server's.
    pub(crate) fn of(path: &Path) -> Self {
        if path.is_dir() { Self::Reports(path.into()) } else { Self::File(path.into()) }
    }

    /// The directory in which files come and go.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::File(path) => match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            },
            Self::Reports(folder) => folder,
        }
    }

    /// All files, opened, the oldest first; without those that were last written before `since`.
    /// The last is the one that is written. One that is renamed meanwhile is not there twice.
    ///
    /// # Errors
    /// When one can't be opened. Where there is none there are none.
    pub(crate) fn open(&self, since: Option<SystemTime>) -> io::Result<Vec<Opened>> {
        // From the newest on: a rotation meanwhile moves files towards those that are opened
        // later, so that one may come twice, and none is missed.
        let mut newest_first = self.names()?;
        newest_first.reverse();
        let (mut opened, mut seen): (Vec<Opened>, Vec<(u64, u64)>) = (Vec::new(), Vec::new());
        for path in newest_first {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named(error, &path)),
            };
            let meta = file.metadata().map_err(|error| named(error, &path))?;
            if meta.is_dir() {
                return Err(named(io::Error::other("it is a directory"), &path));
            }
            let inode = (meta.dev(), meta.ino());
            let is_old = since.is_some_and(|since| meta.modified().is_ok_and(|at| at < since));
            if !seen.contains(&inode) && !is_old {
                opened.push(Opened { path, file });
            }
            seen.push(inode);
        }
        opened.reverse();
        Ok(opened)
    }

    /// The file that is written now, by device and inode; none: there is none yet.
    pub(crate) fn newest(&self) -> io::Result<Option<(u64, u64)>> {
        let path = match self {
            Self::File(path) => Some(path.clone()),
            Self::Reports(folder) if !folder.exists() => None,
            Self::Reports(_) => self.names()?.pop(),
        };
        let Some(path) = path else { return Ok(None) };
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some((meta.dev(), meta.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(error, &path)),
        }
    }

    /// The names that there may be, the oldest first.
    fn names(&self) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::File(newest) => Ok((1..=OLDER)
                .rev()
                .map(|number| {
                    let mut name = newest.as_os_str().to_owned();
                    name.push(format!(".{number}"));
                    name.into()
                })
                .chain([newest.clone()])
                .collect()),
            Self::Reports(folder) => {
                let mut all: Vec<(u64, PathBuf)> = Vec::new();
                for entry in fs::read_dir(folder).map_err(|error| named(error, folder))? {
                    let entry = entry?;
                    let number = entry.file_name().to_str().and_then(segment);
                    all.extend(number.map(|number| (number, entry.path())));
                }
                all.sort();
                Ok(all.into_iter().map(|(_, path)| path).collect())
            }
        }
    }
}

/// The number of a segment of reports.
fn segment(name: &str) -> Option<u64> {
    name.strip_prefix("reports-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// An error that names the file.
pub(crate) fn named(error: io::Error, path: &Path) -> io::Error {
    let shown = lacre_types::escape(path.as_os_str().as_encoded_bytes());
    io::Error::new(error.kind(), format!("cannot read {shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_from_the_oldest_on() {
        let dir = tempfile::tempdir().unwrap();
        let names = |place: &Place| -> Vec<String> {
            let opened = place.open(None).unwrap();
            let name = |one: &Opened| one.path.file_name().unwrap().to_str().unwrap().to_owned();
            opened.iter().map(name).collect()
        };
        for name in ["v", "v.1", "v.3", "v.9", "reports-000002.jsonl", "reports-000010.jsonl"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names(&Place::of(&dir.path().join("v"))), ["v.3", "v.1", "v"]);
        let reports = ["reports-000002.jsonl", "reports-000010.jsonl"];
        assert_eq!(names(&Place::of(dir.path())), reports);
        // A rotation that is seen half-way.
        fs::hard_link(dir.path().join("v"), dir.path().join("v.2")).unwrap();
        assert_eq!(names(&Place::of(&dir.path().join("v"))), ["v.3", "v.1", "v"]);
        assert!(names(&Place::of(&dir.path().join("none"))).is_empty());
    }
}
