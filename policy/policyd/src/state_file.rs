//! What the server keeps on disk, by the version that it was written in.
//!
//! A file's `version` is read before the rest. A newer one than this release writes is not
//! touched: what it says would be lost, a verdict with it. An older one is read as what it has
//! become since. A field that is not known here is passed over, so that a release may add one
//! without another version.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A later release wrote it.
    #[error("it is of version {found}, and this release knows up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The last that this release knows.
        known: u32,
    },
    /// It is not what it should be.
    #[error("it is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// Why the server can't begin with what is there.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later release wrote a file. It stays as it is.
    #[error(
        "{} can't be used; start the release that wrote it, or a later one: it has what is \
         thought of nodes, and what waits for an operator",
        .0.display()
    )]
    Newer(PathBuf, #[source] StateError),
    /// The folder or a file can't be read.
    #[error("reading the server's state in {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The version of a file, if this release can read it.
pub(crate) fn version(text: &[u8], known: u32) -> Result<u32, StateError> {
    let Version { version } = serde_json::from_slice(text).map_err(StateError::Damaged)?;
    match version {
        0 => Err(StateError::Damaged(serde::de::Error::custom("there is no version 0"))),
        found if found > known => Err(StateError::Newer { found, known }),
        found => Ok(found),
    }
}
