//! Lists of containers, and the `aggregate` that anchors them all in one PCR
//! (`kernel/INTERFACE.md`). The shim keeps lists of the same form where the kernel keeps
//! none; what differs is who vouches, which [`Keeper`] says.

mod aggregate;
mod checker;
#[cfg(feature = "kept")]
pub mod final_list;
mod keeper;
mod secret;
#[cfg(feature = "kept")]
pub mod shim_list;
mod writer;

pub use aggregate::{Aggregate, AggregateError, Event, Replayed, parse_line};
pub use checker::{Audited, Fault, audit};
pub(crate) use checker::{audit_within, explained};
pub use keeper::Keeper;
pub use secret::{Key, Kind, Secret};
pub use writer::{Batch, OVERFLOW, Recorded, Recorder, Tagged};
