//! The seam between the wrapper and what guards the containers.
//!
//! The wrapper calls a [`Guard`] at the moments of a container's life, and forwards no
//! `Start` without the [`Permit`] that only a guard makes. What the guard does on its own
//! account goes through [`Inner`](crate::inner::client::Inner) and
//! [`Events`](crate::node::events::Events).

pub(crate) mod compose;
pub(crate) mod container;
pub(crate) mod context;
mod evidence_list;
mod executor;
mod exempt;
mod guard_trait;
mod helper_outcome;
mod helper_teller;
pub(crate) mod identity;
pub(crate) mod image_files;
mod inner_runtime;
pub(crate) mod judge;
pub(crate) mod layers;
mod no_baseline;
mod no_guard;
pub(crate) mod policy;
pub(crate) mod preparation;
mod refusals;
pub(crate) mod responder;
pub(crate) mod rules;
mod shared;
mod sightings;
pub(crate) mod sources;
mod start_permit;
pub(crate) mod task_events;
mod tighten;

pub use compose::compose;
pub(crate) use compose::deliver_left;
pub use context::{Context, GuardError};
pub use exempt::Exempt;
pub use guard_trait::{Created, Guard, Handling, Refusal};
pub use helper_outcome::record as record_helper_outcome;
pub(crate) use identity::fuzz as fuzz_identity;
pub use no_guard::NoGuard;
pub(crate) use shared::Shared;
pub use start_permit::Permit;
