//! The two who keep containers' lists, of whom one can be trusted with less.

use serde::{Deserialize, Serialize};

/// Who keeps a container's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// The kernel, as container-IMA.
    Kernel,
    /// The shim, in user space: whoever is root on the host before a batch is anchored can
    /// alter it.
    Shim,
}

impl std::fmt::Display for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Shim => "shim",
        })
    }
}
