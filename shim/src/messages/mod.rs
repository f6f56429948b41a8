//! The messages that the shim reads or makes: the fields that it needs of
//! `containerd.task.v2` and `v3` (which number them alike), and of ttrpc itself.

mod answers;
mod any;
mod requests;

pub(crate) use answers::STATE_STATUS;
pub use answers::{State, Status, pids, uint_at};
pub use any::Any;
pub(crate) use requests::{CHECKPOINT_OPTIONS, CREATE_OPTIONS, checkpoint_options};
pub use requests::{CreateRequest, ExecRequest, KillRequest, Mount, ProcessId};
