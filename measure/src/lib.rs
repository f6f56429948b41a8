//! The sources: what the kernel sees being run.
//!
//! A source sees and, where it can, holds back; it decides nothing. It asks a [`Judge`]
//! before it answers the kernel, and tells it what came of it afterwards.

mod birth;
pub mod container_ima;
mod container_root;
pub mod exec_map;
pub mod exec_trace;
pub mod fanotify;
mod file_systems;
mod files;
mod held_process;
pub mod ima;
mod image_content;
mod interpreter;
pub mod kernel_hooks;
mod lower_layers;
mod reader_thread;
mod source;
#[cfg(test)]
mod testing;
mod thread_pool;
mod unlinked;
mod unverified;
mod verified;
mod verifiers;
mod wall_clock;

pub use lacre_types::{Known, KnownFile, Listing};
pub use source::{
    Answer, Armed, Block, CodeDirectories, Judge, Leased, LetPass, Loss, Outcome, Rest,
    SourceError, Spared, Target,
};
pub use unverified::{Unverified, Why};
pub use verified::{MOST, Verified};
