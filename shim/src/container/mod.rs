//! A container, from Create until nothing of it is left: who owns it, what is written down of
//! it, and its end, which is the same whoever brings it about.

pub mod bundle;
pub mod charter;
pub mod charters;
pub(crate) mod control;
pub(crate) mod damaged_charter;
pub(crate) mod dead_guard;
pub(crate) mod end;
pub mod generation;
pub mod init;
mod machine;
pub(crate) mod orphan;
pub(crate) mod owner;
pub(crate) mod owner_leave;
pub(crate) mod processes;
pub(crate) mod releasing;
pub(crate) mod remains;
pub(crate) mod shim_guard;
pub(crate) mod spec;
pub(crate) mod sweep;
pub mod telling;
