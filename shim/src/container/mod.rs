//! A container, from Create until nothing of it is left: who owns it, what is written down of
//! it, and its end, which is the same whoever brings it about.

pub(crate) mod accounting;
pub mod bundle;
pub mod charter;
pub(crate) mod charter_stand_in;
pub mod charters;
pub(crate) mod dead_guard;
pub(crate) mod dead_guard_end;
pub mod generation;
pub mod init;
mod lifecycle;
pub(crate) mod orders;
pub(crate) mod orphan;
pub(crate) mod owner;
pub(crate) mod owner_leave;
pub(crate) mod processes;
pub(crate) mod releasing;
pub(crate) mod shim_guard;
pub(crate) mod spec;
pub(crate) mod takedown;
pub mod telling;
