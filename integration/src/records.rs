//! What is on record: the lines of a node's record file (docs/records.md).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::daemon::Containerd;

impl Containerd {
    /// Where its shims record, unless a test's own configuration names another file.
    #[must_use]
    pub fn record_file(&self) -> PathBuf {
        self.node().folder().join("lacre/violations.jsonl")
    }

    /// All that its shims have recorded so far: violations, updates, outcomes and gaps.
    ///
    /// # Errors
    /// As [`read`].
    pub fn records(&self) -> Result<Vec<Value>> {
        read(&self.record_file())
    }

    /// Those of one container.
    ///
    /// # Errors
    /// As [`read`].
    pub fn records_of(&self, id: &str) -> Result<Vec<Value>> {
        Ok(self.records()?.into_iter().filter(|line| line["containerID"] == id).collect())
    }

    /// The violations among [`records`](Self::records).
    ///
    /// # Errors
    /// As [`read`].
    pub fn violations(&self) -> Result<Vec<Value>> {
        let all = self.records()?.into_iter();
        Ok(all.filter(|line| line["notificate"].is_string()).collect())
    }
}

/// The lines of a record file; none where there is no file yet.
///
/// # Errors
/// When it can't be read, or has a line that is no JSON.
pub fn read(file: &Path) -> Result<Vec<Value>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("reading {}", file.display()))?,
    };
    // A last line without its end is still being written.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}
