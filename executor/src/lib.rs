//! Does what was decided; decides nothing.
//!
//! An [`Executor`] stands beside one container. It reaches the container by the kernel
//! itself (freezer, pidfds, netlink), so that it acts in well under a millisecond and also
//! when the inner shim or containerd hang, and by containerd's API where a record must
//! change. What each action does, and what it does not guarantee: `docs/actions.md`.

mod actor;
mod backoff;
mod cgroup;
mod detached;
mod freezer;
mod isolate;
mod kill;
mod manager;
mod netlink;
mod order;
mod outcome;
mod patience;
mod perform;
mod remake;
mod runtime;
mod snapshot;
mod time;
mod undo;
mod watch;

#[doc(hidden)]
pub mod fuzz;

pub use actor::{Container, Executor, Settings};
pub use backoff::{Backoff, Next};
pub use cgroup::{Cgroup, CgroupError};
pub use detached::{DetachedError, Helper, Record, Request, collect, main as detached_main, spawn};
pub use freezer::{FreezeError, Freezer};
pub use isolate::{Cut, IsolateError, isolate, isolated, restore};
pub use kill::{Init, Killed};
pub use manager::Manager;
pub use outcome::Outcome;
pub use runtime::{Later, Runtime, RuntimeError, State};
pub use undo::{UndoError, forget, recall, undo};
