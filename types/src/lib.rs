//! The words that every part of lacre shares: digest, path, measurement, violation, action.
//!
//! Nothing here does I/O, and nothing here decides. Names and spellings are those of the
//! field (OCI, IMA, containerd) and of Sarmento 2023 for violations and actions.

mod action;
pub mod code;
mod digest;
pub mod elf;
mod error;
mod file;
#[doc(hidden)]
pub mod fuzz;
mod kind;
mod known;
mod measurement;
pub mod mountinfo;
pub mod overlay;
mod path;
pub mod proc_pid;
mod time;
mod violation;
mod whitelist;
mod words;

pub use action::{Action, Jit, Mode, Reports};
pub use digest::{Algorithm, Digest, ParseDigestError};
pub use error::chain;
pub use file::FileId;
pub use kind::Kind;
pub use known::{Known, KnownFile, Listing, base_name};
pub use measurement::{Content, Event, Measurement, Memory, Process, Source};
pub use path::{CanonicalPath, PathError, escape};
pub use time::rfc3339;
pub use violation::{Violation, ViolationKind};
pub use whitelist::{Digests, Listed, Whitelist};
pub use words::UnknownWord;
