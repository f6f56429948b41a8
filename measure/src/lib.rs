//! The sources: what the kernel sees being run.
//!
//! A source sees and, where it can, holds back; it decides nothing. It asks a [`Judge`]
//! before it answers the kernel, and tells it what came of it afterwards.

pub mod container_ima;
pub mod exec_map;
pub mod exec_trace;
pub mod fanotify;
mod files;
pub mod ima;
mod mountinfo;
mod process;
mod reader;
mod source;
#[cfg(test)]
mod testing;

pub use lacre_types::{Known, KnownFile, Listing};
pub use source::{Answer, Armed, Block, Judge, Loss, Outcome, Rest, SourceError, Target};
