//! Does what was decided; decides nothing.
//!
//! An [`Executor`] stands beside one container. It reaches the container by the kernel
//! itself (freezer, pidfds, netlink), so that it acts in well under a millisecond and also
//! when the inner shim or containerd hang, and by containerd's API where a record must
//! change. What each action does, and what it does not guarantee: `docs/actions.md`.

mod actions;
mod actor;
mod backoff;
mod cgroup;
mod cgroup_tree;
mod container;
mod executor;
mod freeze_arbiter;
mod freezer;
mod helper;
mod kill;
mod manager;
mod network;
mod outcome;
mod pause_mark;
mod precedence;
mod proc_facts;
mod release;
mod request;
mod run_dir;
mod runtime;
mod settings;
mod target;
mod thaw;

#[doc(hidden)]
pub mod fuzz;

pub use backoff::{Backoff, Next};
pub use cgroup::{Cgroup, CgroupError};
pub use cgroup_tree::{CgroupTree, Within};
pub use container::Container;
pub use executor::Executor;
pub use freeze_arbiter::{Frozen, HeldError};
pub use freezer::{FreezeError, Freezer};
pub use helper::{Record, Request, collect, main as detached_main, spawn};
pub use kill::Killed;
pub use manager::Manager;
pub use network::isolate::{Cut, IsolateError, isolate, isolated, restore};
pub use network::state::{UndoError, forget, is_isolated, recall, undo};
pub use outcome::Outcome;
pub use release::{Release, frozen, release_without_guard};
pub use run_dir::RunDirError;
pub use runtime::{Later, Runtime, RuntimeError, State};
pub use settings::{Helper, Settings};
pub use target::Target;
pub use thaw::release_killed;
