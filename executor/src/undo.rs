use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::detached::{DetachedError, failed, file_name, folder};
use crate::isolate::Cut;

/// What it takes to undo an ISOLATE, kept by [`remember`] under lacre's run directory.
///
/// # Errors
/// When nothing was kept, or it can't be read.
pub fn recall(run: &Path, namespace: &str, container: &str) -> Result<Cut, DetachedError> {
    let path = path(run, namespace, container)?;
    let json = fs::read(&path).map_err(failed("reading", &path))?;
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

/// Keeps it, together with what was kept before.
pub(crate) fn remember(
    run: &Path,
    namespace: &str,
    container: &str,
    cut: Cut,
) -> Result<(), DetachedError> {
    let cut = match recall(run, namespace, container) {
        Ok(before) => before.and(cut),
        Err(_) => cut,
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
