//! The sources: what the kernel sees being run.
//!
//! A source sees and, where it can, holds back; it decides nothing. It asks a [`Judge`]
//! before it answers the kernel, and tells it what came of it afterwards.

pub mod container_ima;
mod container_root;
pub mod exec_map;
pub mod exec_trace;
pub mod fanotify;
mod file_systems;
mod files;
mod held_process;
pub mod ima;
mod interpreter;
pub mod kernel_hooks;
mod reader_thread;
mod source;
#[cfg(test)]
mod testing;
mod thread_pool;
mod unlinked;
mod verified;
mod verifiers;

pub use lacre_types::{Known, KnownFile, Listing};
pub use source::{
    Answer, Armed, Block, CodeDirectories, Judge, Leased, LetPass, Loss, Outcome, Rest,
    SourceError, Spared, Target,
};
pub use verified::{MOST, Unverified, Verified, Why};
