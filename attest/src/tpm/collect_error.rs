//! Why a node could not gather its evidence, with what to do about it.

use std::io;
use std::path::PathBuf;

use super::error::TpmError;
use super::journal::JournalError;

/// Why no evidence could be gathered.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The TPM.
    #[error("the TPM gave no quote")]
    Tpm(#[source] TpmError),
    /// A file could not be read.
    #[error("cannot read {}; is securityfs mounted, and IMA on?", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A list that a shim keeps could not be read.
    #[error("cannot read {}, the list that a shim keeps of {}", .path.display(), lacre_types::escape(.id.as_bytes()))]
    Shim {
        /// Which file.
        path: PathBuf,
        /// Of which container.
        id: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The journal could not be read.
    #[error("cannot read the journal of the shims' lists")]
    Journal(#[source] JournalError),
    /// Others stage and delete lines of the host's list, and never pause.
    #[error("{} changes whenever it is read: others export it all the time", .0.display())]
    Restless(PathBuf),
    /// A list is larger than evidence may be, or a boot log than any is.
    #[error("{} is larger than it may be in evidence", .0.display())]
    TooLarge(PathBuf),
}
