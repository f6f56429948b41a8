use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::detached::{DetachedError, failed, file_name, folder};
use crate::isolate::Cut;

/// What it takes to undo an ISOLATE, kept under lacre's run directory.
///
/// # Errors
/// When nothing was kept, or it can't be read.
pub fn recall(run: &Path, namespace: &str, container: &str) -> Result<Cut, DetachedError> {
    read(&path(run, namespace, container)?)
}

fn read(path: &Path) -> Result<Cut, DetachedError> {
    let json = fs::read(path).map_err(failed("reading", path))?;
    serde_json::from_slice(&json)
        .map_err(|source| DetachedError::Read { what: "what ISOLATE kept to be undone", source })
}

/// Forgets it: after it was undone, and when the container is gone. None is none.
///
/// # Errors
/// When it can't be removed.
pub fn forget(run: &Path, namespace: &str, container: &str) -> Result<(), DetachedError> {
    let path = path(run, namespace, container)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Undoes the ISOLATE of a container, by the pid of a process in it; and of those that share
/// its network namespace, since there is only one network to bring back.
///
/// # Errors
/// When nothing was kept, or a call fails; what was kept is then still there.
pub fn undo(run: &Path, namespace: &str, container: &str, pid: u32) -> Result<(), UndoError> {
    let mut cut = recall(run, namespace, container)?;
    let folder = run.join("isolated");
    let mut kept = vec![path(run, namespace, container)?];
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
    if let Err(error) = crate::restore(pid, &cut) {
        remember(run, namespace, container, cut)?;
        return Err(error.into());
    }
    Ok(())
}

/// Why an ISOLATE is not undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// What it takes is not there.
    #[error("undoing ISOLATE: what was cut is not known")]
    Kept(#[from] DetachedError),
    /// The network.
    #[error("undoing ISOLATE")]
    Network(#[from] crate::IsolateError),
}

/// Keeps it, together with what was kept before.
pub(crate) fn remember(
    run: &Path,
    namespace: &str,
    container: &str,
    cut: Cut,
) -> Result<(), DetachedError> {
    let cut = match recall(run, namespace, container) {
        Ok(before) if before.netns == cut.netns => before.and(cut),
        _ => cut,
    };
    let json = serde_json::to_vec(&cut)
        .map_err(|source| DetachedError::Read { what: "what was cut", source })?;
    folder(run, "isolated")?;
    let path = path(run, namespace, container)?;
    let new = path.with_extension("new");
    fs::write(&new, json).map_err(failed("writing", &new))?;
    fs::rename(&new, &path).map_err(failed("creating", &path))
}

fn path(run: &Path, namespace: &str, container: &str) -> Result<PathBuf, DetachedError> {
    Ok(run.join("isolated").join(format!("{}.json", file_name(namespace, container)?)))
}
