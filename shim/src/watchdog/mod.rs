//! The watchdog: one process for each run directory of a node, outside the guards' own, that
//! ends what would run unguarded or stand still.
//!
//! Each guard has a connection to it, and starts it where it is not there. It holds a
//! descriptor of each fanotify group that a guard asks by, so that a guard's death lets nobody
//! pass who waits for its answer; and it asks every guard, every few seconds, whether it gets on.
//!
//! A guard whose connection ends before it has left its place has died. One that gives no answer
//! hangs, and is killed. What it guarded in enforce mode is killed at once; what it has left, in
//! the kernel and in the run directory, is taken out when no process of it is left, unless
//! containerd's `delete` does so first.

mod client;
mod guard;
mod link;
mod process;
mod stand_in;

pub(crate) use client::Watchdog;
pub use link::ARGUMENT;
pub use process::main;
