//! What was cut, kept on disk for who undoes it later.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lacre_sys::whole_file;

use crate::network::isolate::{Cut, IsolateError, restore};
use crate::pause_mark;
use crate::run_dir::{RunDirError, failed, folder, of_generation};

/// What it takes to undo an ISOLATE, kept under lacre's run directory; `generation` is the
/// container's [`Container::generation`](crate::Container::generation).
///
/// # Errors
/// When nothing was kept, or it can't be read.
pub fn recall(run: &Path, generation: &str) -> Result<Cut, RunDirError> {
    read(&path(run, generation)?)
}

fn read(path: &Path) -> Result<Cut, RunDirError> {
    let json = fs::read(path).map_err(failed("reading", path))?;
    serde_json::from_slice(&json)
        .map_err(|source| RunDirError::Read { what: "what ISOLATE kept to be undone", source })
}

/// Whether there is an ISOLATE of it to be undone.
#[must_use]
pub fn is_isolated(run: &Path, generation: &str) -> bool {
    path(run, generation).is_ok_and(|path| path.exists())
}

/// Forgets it, and that lacre froze it: after it was undone, and when the container is gone. None is none.
///
/// # Errors
/// When it can't be removed.
pub fn forget(run: &Path, generation: &str) -> Result<(), RunDirError> {
    let path = path(run, generation)?;
    pause_mark::remove(run, generation)?;
    whole_file::remove(&path).map_err(failed("removing", &path))
}

/// Undoes the ISOLATE of a container, by the pid of a process in it; and of those that share
/// its network namespace, since there is only one network to bring back.
///
/// # Errors
/// When nothing was kept, or a call fails; what was kept is then still there.
pub fn undo(run: &Path, generation: &str, pid: u32) -> Result<(), UndoError> {
    let mut cut = recall(run, generation)?;
    let folder = run.join("isolated");
    let mut kept = vec![path(run, generation)?];
    for entry in fs::read_dir(&folder).map_err(failed("reading", &folder))?.flatten() {
        let path = entry.path();
        let shared = read(&path).ok().filter(|other| other.netns == cut.netns);
        if let Some(other) = shared.filter(|_| !kept.contains(&path)) {
            cut = cut.and(other);
            kept.push(path);
        }
    }
    // First, so that who watches over it does not cut it again.
    for path in &kept {
        fs::remove_file(path).map_err(failed("removing", path))?;
    }
    if let Err(error) = restore(pid, &cut) {
        remember(run, generation, cut)?;
        return Err(error.into());
    }
    Ok(())
}

/// How many other containers were isolated that share its network.
pub(crate) fn shared_with(run: &Path, generation: &str) -> usize {
    let Ok(cut) = recall(run, generation) else { return 0 };
    let entries = fs::read_dir(run.join("isolated")).into_iter().flatten().flatten();
    let shared = entries.filter_map(|entry| read(&entry.path()).ok());
    shared.filter(|other| other.netns == cut.netns).count().saturating_sub(1)
}

/// Why an ISOLATE is not undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// What it takes is not there.
    #[error("undoing ISOLATE: what was cut is not known")]
    Kept(#[from] RunDirError),
    /// The network.
    #[error("undoing ISOLATE")]
    Network(#[from] IsolateError),
}

/// Keeps it, together with what was kept before.
pub(crate) fn remember(run: &Path, generation: &str, cut: Cut) -> Result<(), RunDirError> {
    let cut = match recall(run, generation) {
        Ok(before) if before.netns == cut.netns => before.and(cut),
        _ => cut,
    };
    let json = serde_json::to_vec(&cut)
        .map_err(|source| RunDirError::Read { what: "what was cut", source })?;
    folder(run, "isolated")?;
    let path = path(run, generation)?;
    whole_file::put(&path, 0o600, |file| file.write_all(&json)).map_err(failed("writing", &path))
}

fn path(run: &Path, generation: &str) -> Result<PathBuf, RunDirError> {
    of_generation(run, "isolated", generation)
}
