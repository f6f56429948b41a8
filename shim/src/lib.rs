//! The shim `containerd-shim-lacre-v1`: wraps the shim that containerd would have run, and
//! guards what runs in it (DESIGN 5.1).
//!
//! containerd runs [`start`] for a container (of a pod, for its sandbox). It runs the inner
//! shim's own `start` and leaves behind one [`serve`] process for each inner shim, whose
//! [`proxy`] stands between the two for as long as the inner shim lives and asks a
//! [`guard`] before anything starts. [`delete`] cleans up, from another process, whatever
//! became of the first two.

pub mod args;
pub mod bootstrap;
pub mod bundle;
pub mod cgroup;
pub mod config;
pub mod delete;
pub mod events;
pub mod finish;
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
pub mod info;
pub mod inner;
pub mod log;
pub mod messages;
pub mod options;
mod orphan;
pub mod process;
pub mod proxy;
pub mod rest;
pub mod rundir;
pub mod serve;
pub mod start;
pub mod task;
pub mod ttrpc;
pub mod wire;
