//! What this process shares with the rest of the node.

pub mod cgroup;
pub mod events;
pub mod guard_state;
pub mod json_file;
pub mod logging;
pub mod memory;
pub(crate) mod open_files;
pub mod pid_namespace;
pub(crate) mod proc_files;
pub mod process;
mod program_digests;
pub mod program_list;
pub mod run_dir;
pub(crate) mod runtime;
