//! The shim that is wrapped: its program, and calls to it.

pub mod client;
pub mod program;
pub(crate) mod sockets;
