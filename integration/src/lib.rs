//! End-to-end tests against real containerd.
//!
//! A [`Node`] is a folder and a pair of namespaces (mounts, network) in which everything
//! that a daemon leaves in `/run` and `/sys/fs/bpf` is its own: tests run side by side,
//! and what is left over is known exactly. [`Containerd`] and [`Dockerd`] live in one.
//! `integration/setup.sh` brings what they run. A [`vm::Guest`] is a whole machine with a
//! kernel of its own; `integration/vm/prepare.sh` brings what it takes.

pub mod bench;
pub mod cases;
mod config;
pub mod container;
pub mod cri;
pub mod daemon;
pub mod docker;
pub mod fault;
pub mod held;
pub mod image;
pub mod images;
pub mod leaks;
pub mod node;
pub mod output;
pub mod paths;
pub mod process;
pub mod vm;

pub use daemon::{Containerd, Runtime, Version};
pub use docker::Dockerd;
pub use image::{Image, Layer};
pub use node::Node;
pub use output::Output;
