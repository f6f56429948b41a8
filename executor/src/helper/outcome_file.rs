//! What came of an action, left in the run directory by a helper whose asker is gone and who
//! could not put it on record.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::Path;

use lacre_sys::whole_file;
use serde::{Deserialize, Serialize};

use crate::helper::request::{JSON_MAX, Request};
use crate::outcome::Outcome;
use crate::run_dir::{RunDirError, failed, folder};

/// How many records one [`collect`] takes; the rest waits for the next.
const COLLECT_MAX: usize = 1024;

/// What a helper did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub container: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl Request {
    /// The outcome, once the helper has ended: what it said, or else what it left, which it
    /// could not put on record.
    ///
    /// # Errors
    /// When there is none: the helper was killed, or somebody else has taken it.
    pub fn take_outcome(&self, said: impl Read) -> Result<Outcome, RunDirError> {
        let mut json = Vec::new();
        said.take(JSON_MAX)
            .read_to_end(&mut json)
            .map_err(failed("reading the answer of", Path::new("lacre-act")))?;
        if let Ok(outcome) = serde_json::from_slice(&json) {
            return Ok(outcome);
        }
        let record = read(&self.outcome)?;
        fs::remove_file(&self.outcome).map_err(failed("removing", &self.outcome))?;
        Ok(record.outcome)
    }
}

/// Takes what helpers of processes that are gone have left and not put on record themselves.
/// Each is given out once.
///
/// # Errors
/// When the folder can't be read. A file that can't is left, and skipped.
pub fn collect(run: &Path) -> Result<Vec<Record>, RunDirError> {
    let folder = run.join("outcomes");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("reading", &folder)(error)),
    };
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if all.len() < COLLECT_MAX
            && path.extension().is_some_and(|end| end == "json")
            && !waiter(&path).is_some_and(alive)
            && let Ok(record) = read(&path)
            // Who removes it has it.
            && fs::remove_file(&path).is_ok()
        {
            all.push(record);
        }
    }
    Ok(all)
}

fn waiter(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.rsplit('.').nth(2)?.parse().ok()
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Leaves it, for [`collect`] or who asked.
pub(super) fn write(request: &Request, outcome: &Outcome) -> Result<(), RunDirError> {
    let record = Record {
        namespace: request.namespace.clone(),
        container: request.container.clone(),
        outcome: outcome.clone(),
    };
    let json = serde_json::to_vec(&record)
        .map_err(|source| RunDirError::Read { what: "the record of a helper", source })?;
    folder(&request.run, "outcomes")?;
    whole_file::put(&request.outcome, 0o600, |file| file.write_all(&json))
        .map_err(failed("writing", &request.outcome))
}

fn read(path: &Path) -> Result<Record, RunDirError> {
    let mut json = Vec::new();
    File::open(path)
        .and_then(|file| file.take(JSON_MAX).read_to_end(&mut json))
        .map_err(failed("reading", path))?;
    serde_json::from_slice(&json)
        .map_err(|source| RunDirError::Read { what: "the record of a helper", source })
}
