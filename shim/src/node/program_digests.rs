//! The digests of the programs that the node runs, kept so that a start reads none of them again.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::json_file;

/// States of files whose digest is known: two programs, and some upgrades of each.
const KNOWN_MAX: usize = 32;
/// A file that changed so recently may change again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

pub(super) type Sha = [u8; 32];

/// A file at one moment: whatever changes its content changes this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            dev: found.dev(),
            ino: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        let changed = u64::try_from(self.changed.0).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        changed.elapsed().is_ok_and(|since| since >= SETTLED)
    }
}

/// Digests that are known, in a file of root's.
#[derive(Debug, Clone)]
pub(super) struct ProgramDigests {
    file: PathBuf,
}

impl ProgramDigests {
    pub(super) const fn new(file: PathBuf) -> Self {
        Self { file }
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What a program has now: it is read once for each state of its file.
    ///
    /// # Errors
    /// When it can't be read, or changes meanwhile.
    pub(super) fn of(&self, path: &Path) -> io::Result<Sha> {
        let mut file = File::open(path)?;
        let state = State::of(&file.metadata()?);
        let mut known: Vec<(State, String)> =
            json_file::read_own(&self.file).ok().flatten().unwrap_or_default();
        let found = known.iter().find(|(known, _)| *known == state);
        if let Some(digest) = found.and_then(|(_, digest)| unhex(digest)) {
            return Ok(digest);
        }
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 128 << 10];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => hash.update(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let digest = hash.finalize().into();
        if State::of(&file.metadata()?) != state {
            return Err(io::Error::other("it changes while it is read"));
        }
        if state.is_settled() {
            known.push((state, hex(&digest)));
            let more = known.len().saturating_sub(KNOWN_MAX);
            known.drain(..more);
            // It is read again, where it can't be kept.
            let _ = json_file::write(&self.file, &known);
        }
        Ok(digest)
    }
}

pub(super) fn hex(digest: &Sha) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Sha> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(digest)
}
