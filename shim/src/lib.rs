//! The shim `containerd-shim-lacre-v1`: wraps the shim that containerd would have run, since
//! nobody else is asked before a container's first instruction, and guards what runs in it.
//!
//! containerd runs [`commands::start`] for a container (of a pod, for its sandbox). It runs
//! the inner shim's own `start` and leaves behind one [`commands::serve`] process for each
//! inner shim, whose [`relay`] stands between the two for as long as the inner shim lives and
//! asks a [`guard`] before anything starts. [`commands::delete`] cleans up, from another
//! process, whatever became of the first two.

pub mod arguments;
pub mod bootstrap;
pub mod commands;
pub mod config;
pub mod container;
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
pub mod inner;
pub mod inspect;
pub mod messages;
pub mod node;
pub mod relay;
pub mod ttrpc;
pub mod watchdog;
pub mod wire;
