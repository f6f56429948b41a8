//! The generations of containerd that tests run on, and where each is unpacked.

use std::path::PathBuf;

use anyhow::Result;

use crate::paths::cached;

/// A generation of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Debian 12's: a bare address from `start`, `containerd.task.v2`.
    V1_6,
    /// Debian 13's: JSON up to version 2.
    V1_7,
    /// The 2.x line: JSON up to version 3, `containerd.task.v3`, sandboxes.
    V2_1,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_6, Self::V1_7, Self::V2_1];

    /// Its number.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2_1 => "2.1",
        }
    }

    pub(crate) fn root(self) -> Result<PathBuf> {
        cached(&format!("daemons/{}", self.name()))
    }
}
