//! One file per node, written whole or not at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::record::Record;
use crate::state_file::{OpenError, StateError};

/// A node's file is written and read up to here; one has some kilobytes, and more by its containers.
const MOST: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// The files' folder.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

/// A file that is none of ours any more.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) path: PathBuf,
    pub(super) error: StateError,
}

/// What a folder of files holds.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) files: Files,
    pub(super) nodes: BTreeMap<String, Record>,
    pub(super) damaged: Vec<Damaged>,
}

/// Whether this release may have all nodes of that folder. Nothing is touched.
///
/// # Errors
/// When a later release wrote one, or it can't be read.
pub fn check(dir: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::Read(dir.to_owned(), error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Err(newer @ StateError::Newer { .. }) =
                Record::parse(&read(&path).map_err(failed)?)
        {
            return Err(OpenError::Newer(path, newer));
        }
    }
    Ok(())
}

impl Files {
    /// Reads all nodes. A damaged file is put aside: its node must enrol again.
    /// One that a later release wrote stays as it is, and nothing is opened.
    pub(super) fn open(dir: &Path) -> Result<Opened, OpenError> {
        let failed = |error| OpenError::Read(dir.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let (mut nodes, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match Record::parse(&read(&path).map_err(failed)?) {
                Ok(record) => drop(nodes.insert(record.principal.clone(), record)),
                Err(newer @ StateError::Newer { .. }) => return Err(OpenError::Newer(path, newer)),
                Err(error) => damaged.push(Damaged { path, error }),
            }
        }
        // Not before it is known that this release may have them.
        for Damaged { path, .. } in &damaged {
            fs::rename(path, path.with_extension("damaged")).map_err(failed)?;
        }
        Ok(Opened { files: Self(dir.to_owned()), nodes, damaged })
    }

    /// A principal's name may be longer than a file's, and have any byte in it.
    fn path(&self, principal: &str) -> PathBuf {
        let mut name = String::new();
        for byte in sha2::Sha256::digest(principal.as_bytes()) {
            let _ = write!(name, "{byte:02x}");
        }
        self.0.join(name + ".json")
    }

    /// Whether what was known of it was damaged and was put aside, and is not
    /// [told](Self::damage_is_told) yet.
    pub(super) fn was_damaged(&self, principal: &str) -> bool {
        self.path(principal).with_extension("damaged").exists()
    }

    /// What was damaged is told by a record that is on disk.
    pub(super) fn damage_is_told(&self, principal: &str) -> io::Result<()> {
        let path = self.path(principal).with_extension("damaged");
        match fs::rename(&path, path.with_extension("damaged-and-told")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.and_then(|()| File::open(&self.0)?.sync_all()),
        }
    }

    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let text = record.to_json()?;
        if text.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let path = self.path(&record.principal);
        let part = path.with_extension("part");
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&part, &path)?;
        File::open(&self.0)?.sync_all()
    }

    pub(super) fn remove(&self, principal: &str) -> io::Result<()> {
        match fs::remove_file(self.path(principal)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.and_then(|()| File::open(&self.0)?.sync_all()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MOST as u64).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::record::Now;
    use super::super::record::tests::known;
    use super::*;

    #[test]
    fn a_newer_file_is_left_alone_and_so_are_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { files, .. } = Files::open(dir.path()).unwrap();
        let newer = files.path("uid:1");
        fs::write(&newer, r#"{"version":3,"verdict":"worse"}"#).unwrap();
        fs::write(files.path("uid:2"), "{").unwrap();
        let refused = Files::open(dir.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Newer(..)), "{refused}");
        assert_eq!(fs::read(&newer).unwrap(), br#"{"version":3,"verdict":"worse"}"#);
        assert!(files.path("uid:2").exists(), "nothing is put aside by who does not begin");
        fs::remove_file(newer).unwrap();
        let Opened { files, nodes, damaged } = Files::open(dir.path()).unwrap();
        assert_eq!((nodes.len(), damaged.len()), (0, 1));
        assert!(files.was_damaged("uid:2") && files.was_damaged("uid:2"), "until it is told");
        files.damage_is_told("uid:2").unwrap();
        assert!(!files.was_damaged("uid:2"));
        files.damage_is_told("uid:2").unwrap();
        assert!(!files.was_damaged("uid:1"));
    }

    #[test]
    fn what_would_not_read_back_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { files, .. } = Files::open(dir.path()).unwrap();
        let mut record = Record::enrolled("uid:0", known(1), None, &Now::read());
        files.write(&record).unwrap();
        record.known.node = "n".repeat(MOST);
        assert_eq!(files.write(&record).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let Opened { nodes, damaged, .. } = Files::open(dir.path()).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        assert_eq!(nodes["uid:0"].known.node, "n", "what was known before");
    }
}
