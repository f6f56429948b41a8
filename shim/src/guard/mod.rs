//! The seam between the wrapper and what guards the containers.
//!
//! The wrapper calls a [`Guard`] at the moments of a container's life, and forwards no
//! `Start` without the [`Permit`] that only a guard makes. What the guard does on its own
//! account goes through [`Inner`](crate::inner::client::Inner) and
//! [`Events`](crate::node::events::Events).
//!
//! In the order of a container's life: `preparation` is all between Create and Start, who it is
//! (`identity`), what came with its image (`image_files`), which policy holds (`policy`), and its
//! `sources`; `judge` says what of a measurement is a violation, `sightings` takes violations to
//! `responder`, which records and acts. `container_policy` is what holds for a container now,
//! `tightening` how it comes to be enforce.

mod actions_under_way;
pub(crate) mod call_off;
pub(crate) mod compose;
pub(crate) mod container_policy;
pub(crate) mod context;
mod evidence_list;
mod executor;
mod exempt;
mod guard_trait;
pub(crate) mod guarded_container;
mod helper_outcome;
mod helper_teller;
pub(crate) mod identity;
pub(crate) mod image_files;
pub(crate) mod image_knowledge;
mod inner_runtime;
pub(crate) mod judge;
mod lazy_content;
mod look_back;
mod making;
mod no_baseline;
mod no_guard;
pub(crate) mod overlay_layers;
pub(crate) mod policy;
pub(crate) mod preparation;
mod program_refusal;
mod refusals;
pub(crate) mod responder;
mod shim_state;
mod sightings;
mod snapshot_view;
pub(crate) mod sources;
mod start_permit;
pub(crate) mod task_events;
mod tightening;

pub use compose::compose;
pub(crate) use compose::deliver_left;
pub use context::{Context, GuardError};
pub use exempt::Exempt;
pub use guard_trait::{Created, Guard, Handling, Operator, Refusal};
pub use helper_outcome::record as record_helper_outcome;
pub(crate) use identity::fuzz as fuzz_identity;
pub use no_guard::NoGuard;
pub(crate) use program_refusal::record_refusal;
pub(crate) use shim_state::Shared;
pub use start_permit::Permit;
