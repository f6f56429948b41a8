//! End-to-end tests against real containerd.
//!
//! A [`Node`] is a folder and a pair of namespaces (mounts, network) in which everything
//! that a daemon leaves in `/run` and `/sys/fs/bpf` is its own: tests run side by side,
//! and what is left over is known exactly. [`Containerd`] and [`Dockerd`] live in one.
//! `integration/setup.sh` brings what they run. A [`vm::Guest`] is a whole machine with a
//! kernel of its own; `integration/vm/prepare.sh` brings what it takes.

pub mod bench;
mod config;
pub mod container;
pub mod cri;
pub mod daemon;
pub mod demo_cases;
pub mod docker;
pub mod fault;
pub mod grpc;
pub mod guarded_script;
pub mod image;
pub mod images;
mod layer;
pub mod leaks;
mod not_run;
pub mod output;
pub mod paths;
pub mod paused_process;
pub mod process;
pub mod records;
mod runtime;
pub mod sandbox;
mod snapshotter;
mod version;
pub mod vm;
pub mod workloads;

pub use daemon::{Containerd, Runtime, Snapshotter, Version};
pub use docker::Dockerd;
pub use image::{Image, Layer};
pub use not_run::not_run;
pub use output::Output;
pub use runtime::writes_to_files;
pub use sandbox::Node;
