//! Inner shims for the tests: small ones over runc, which fail on command
//! ([`fault::FAULTS`]). Two programs serve the same tasks: `containerd-shim-faulty-v3`, made
//! with containerd's crate for shims, whose Task API is that of containerd 2.x; and
//! `containerd-shim-faulty-v2`, with the API of 1.x, which that crate does not speak.

pub mod fault;
pub mod process;
pub mod runc;
mod shim;
pub mod task;

pub use shim::{FaultyShim, removed, started};
