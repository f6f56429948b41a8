//! The policies that were in force, by their version: what a container has, it may have had for
//! long.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lacre_policy::Policy;

use crate::reloaded_file;

/// How many are kept. Of a container with an older one it is not known how strict that is.
const KEPT: usize = 64;

/// The policies of that folder.
#[derive(Debug)]
pub(super) struct Policies {
    dir: PathBuf,
    all: Mutex<BTreeMap<String, Arc<Policy>>>,
}

impl Policies {
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut all = BTreeMap::new();
        for (_, path) in by_age(&dir)?.into_iter().rev().take(KEPT) {
            let text = fs::read(&path)?;
            // By what it says, whatever it is called. One that no release reads is as none.
            if let Ok((policy, _)) = Policy::parse("", &text) {
                all.insert(reloaded_file::version(&text), Arc::new(policy));
            }
        }
        Ok(Self { dir, all: Mutex::new(all) })
    }

    pub(super) fn get(&self, version: &str) -> Option<Arc<Policy>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(version).cloned()
    }

    /// Keeps one; the oldest beyond the bound go.
    pub(super) fn keep(&self, version: &str, policy: &Policy, text: &[u8]) -> io::Result<()> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(version.to_owned(), Arc::new(policy.clone()));
        let name = version.rsplit(':').next().unwrap_or(version);
        lacre_sys::whole_file::put(&self.dir.join(name).with_extension("yaml"), 0o600, |file| {
            io::Write::write_all(file, text)?;
            file.sync_data()
        })?;
        let files = by_age(&self.dir)?;
        for (_, path) in files.iter().take(files.len().saturating_sub(KEPT)) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The oldest first.
fn by_age(dir: &Path) -> io::Result<Vec<(std::time::SystemTime, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push((path.metadata()?.modified()?, path));
        }
    }
    files.sort();
    Ok(files)
}
