//! Policies of the server on this node's disk.

use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use lacre_sys::whole_file;

use crate::file_name::file_name;

/// The effective policy of one container, as the server sent it last. It is kept on disk
/// and holds while the server is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    /// The version of the policy that it is a part of.
    pub version: String,
    /// JSON, as lacre-policy's `Effective`.
    pub effective: Vec<u8>,
}

impl StoredPolicy {
    /// Reads what is stored: the version, a line feed, the JSON.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let at = bytes.iter().position(|byte| *byte == b'\n')?;
        let version = std::str::from_utf8(&bytes[..at]).ok()?.to_owned();
        Some(Self { version, effective: bytes[at + 1..].to_vec() })
    }

    /// The policy stored for that container in this state directory, if there is a whole one.
    /// `generation` is its [`Container::generation`](crate::Container::generation).
    #[must_use]
    pub fn load(state: &Path, generation: &str) -> Option<Self> {
        Self::parse(&fs::read(path(state, generation)).ok()?)
    }

    /// Stores it in place of the last one: whole, or not at all.
    pub(crate) fn store(&self, state: &Path, generation: &str) -> std::io::Result<()> {
        let path = path(state, generation);
        let dir = state.join("policies");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        whole_file::put(&path, 0o600, |file| {
            file.write_all(self.version.replace('\n', " ").as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(&self.effective)?;
            file.sync_data()
        })
    }

    /// Forgets it, when the container has ended.
    pub fn forget(state: &Path, generation: &str) {
        let _ = whole_file::remove(&path(state, generation));
    }
}

fn path(state: &Path, generation: &str) -> PathBuf {
    state.join("policies").join(file_name(generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_policy_is_there_until_it_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(StoredPolicy::load(state.path(), "0a"), None);
        for version in ["sha256:1", "sha256:2"] {
            let policy = StoredPolicy { version: version.into(), effective: b"{\n}".to_vec() };
            policy.store(state.path(), "0a").unwrap();
            assert_eq!(StoredPolicy::load(state.path(), "0a"), Some(policy));
        }
        assert_eq!(fs::read_dir(state.path().join("policies")).unwrap().count(), 1);
        StoredPolicy::forget(state.path(), "0a");
        assert_eq!(StoredPolicy::load(state.path(), "0a"), None);
    }
}
