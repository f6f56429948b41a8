//! Whole machines: a kernel under QEMU, without help of the processor, with a TPM by swtpm,
//! and in it containerd, runc and lacre.
//!
//! A [`Guest`] boots once and serves every test of its [`Kernel`] ([`shared`]): a test sends
//! a [`Request`] over a virtio serial port, and the [`agent`], which is the guest's only
//! service, answers with one line of JSON. What the kernel prints goes to a file, whose end
//! is part of every failure. The guest's disks are a root file system that is made once and
//! kept ([`rootfs`]), and one made for each run with the programs as they were just built.

pub mod agent;
mod deadline;
mod disk;
pub mod follow_latency;
mod guest;
mod kernel;
mod machine;
pub mod rootfs;
mod tpm;
mod wire;

pub use guest::{Guest, shared};
pub use kernel::Kernel;
pub use tpm::Maker;
pub use wire::{Hello, Request};
