//! Lists of containers, and the `aggregate` that anchors them all in one PCR
//! (`kernel/INTERFACE.md`). The shim keeps lists of the same form where the kernel keeps
//! none; what differs is who vouches, which [`Keeper`] says.

mod aggregate;
mod audit;
#[cfg(feature = "kept")]
pub mod ended;
#[cfg(feature = "kept")]
pub mod kept;
mod key;
mod record;

pub use aggregate::{Aggregate, AggregateError, Event, Replayed, parse_line};
pub use audit::{Audited, Fault, audit};
pub(crate) use audit::{audit_within, explained};
pub use key::{Key, Kind, Secret};
pub use record::{Batch, Recorded, Recorder, Tagged};

use serde::{Deserialize, Serialize};

/// The name of the violation that marks missing lines in a container's list.
pub const OVERFLOW: &[u8] = b"ima_container_overflow";

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
