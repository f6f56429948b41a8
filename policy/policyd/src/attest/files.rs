//! One file per node, written whole or not at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::record::Record;

/// A node's file is written and read up to here; one has some kilobytes, and more by its containers.
const MOST: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// The files' folder.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

/// A file that is none of ours any more.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

impl Files {
    /// Reads all nodes. A damaged file is put aside: its node must enrol again.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, BTreeMap<String, Record>, Vec<Damaged>)> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let (mut nodes, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path) {
                Ok(record) => drop(nodes.insert(record.principal.clone(), record)),
                Err(error) => {
                    fs::rename(&path, path.with_extension("damaged"))?;
                    damaged.push(Damaged { path, error });
                }
            }
        }
        Ok((Self(dir.to_owned()), nodes, damaged))
    }

    /// A principal's name may be longer than a file's, and have any byte in it.
    fn path(&self, principal: &str) -> PathBuf {
        let mut name = String::new();
        for byte in sha2::Sha256::digest(principal.as_bytes()) {
            let _ = write!(name, "{byte:02x}");
        }
        self.0.join(name + ".json")
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

fn read(path: &Path) -> io::Result<Record> {
    let mut text = Vec::new();
    File::open(path)?.take(MOST as u64).read_to_end(&mut text)?;
    Record::parse(&text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::known;
    use super::*;

    #[test]
    fn what_would_not_read_back_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (files, ..) = Files::open(dir.path()).unwrap();
        let mut record = Record::enrolled("uid:0", known(1), None);
        files.write(&record).unwrap();
        record.known.node = "n".repeat(MOST);
        assert_eq!(files.write(&record).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (_, nodes, damaged) = Files::open(dir.path()).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        assert_eq!(nodes["uid:0"].known.node, "n", "what was known before");
    }
}
