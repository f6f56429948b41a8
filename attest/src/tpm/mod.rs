//! The thin layer that talks to a TPM, by libtss2's ESAPI.

mod anchor;
mod collect;
mod collect_error;
mod commands;
mod connection;
mod error;
mod host_list;
mod journal;
mod kernel;
mod list_file;
mod places;

pub use anchor::{Anchor, Anchored, List, ListError, PcrOf};
pub use collect::{ShimContainer, collect};
pub use collect_error::CollectError;
pub use commands::{AttestationKey, Endorsement, KeyKind, Pcrs, Quote};
pub use connection::{DEADLINE, Tpm};
pub use error::TpmError;
pub use journal::{Extend, Journal, JournalError};
pub use kernel::seq;
pub use places::Places;
