//! lacre's run directory: what helpers and ISOLATE keep there, one file a container.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Why a helper can't be started or heard, or what an action keeps can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// A name that can't be part of a file's.
    #[error("`{0}` is no name of a container or namespace")]
    Name(String),
    /// A file or the process.
    #[error("{doing} {path}", path = .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What was read is not what it must be.
    #[error("{what} can't be read")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A folder in it, made unless it is there.
pub(crate) fn folder(run: &Path, name: &str) -> Result<PathBuf, RunDirError> {
    let path = run.join(name);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&path)
        .map_err(failed("creating", &path))?;
    Ok(path)
}

/// The file of a container in a folder of it, by its generation.
pub(crate) fn of_generation(
    run: &Path,
    folder: &str,
    generation: &str,
) -> Result<PathBuf, RunDirError> {
    if generation.is_empty() || !generation.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(RunDirError::Name(lacre_types::escape(generation.as_bytes())));
    }
    Ok(run.join(folder).join(format!("{generation}.json")))
}

/// A container's name as part of a file's. containerd's own rule for names keeps out what this
/// refuses; nothing here relies on it.
pub(crate) fn file_name(namespace: &str, container: &str) -> Result<String, RunDirError> {
    for name in [namespace, container] {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // A file's name has 255 bytes at most.
        if name.is_empty() || name.len() > 100 || !name.bytes().all(fits) || name.starts_with('.') {
            return Err(RunDirError::Name(lacre_types::escape(name.as_bytes())));
        }
    }
    Ok(format!("{namespace}.{container}"))
}

pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunDirError {
    move |source| RunDirError::Io { doing, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        for bad in ["", "..", "../x", "a/b", "a\nb", &"x".repeat(101)] {
            assert!(file_name("default", bad).is_err(), "{bad}");
        }
        assert_eq!(file_name("k8s.io", "a-B_9").unwrap(), "k8s.io.a-B_9");
    }
}
