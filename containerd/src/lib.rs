//! A small client of containerd's gRPC API: whose image a container has, and what it takes
//! to delete it or to give it a clean snapshot.
//!
//! The messages are this crate's own, with only the fields that are used, by the field
//! numbers of containerd's `api/` (the same in 1.6, 1.7 and 2.x). Every call has a deadline;
//! nothing is connected before the first call, and dropping the [`Client`] closes it.

mod blob_cache;
mod client;
mod containers;
mod content;
mod error;
mod events;
mod exact_names;
mod image_content;
mod images;
mod leases;
mod node;
mod snapshots;
mod tasks;
mod view;
mod wire;

#[doc(hidden)]
pub mod fuzz;

pub use blob_cache::BlobCache;
pub use client::Client;
pub use containers::{Change, Container, Message, Moment};
pub use content::{BlobInfo, ContentReader, blob_path};
pub use error::Error;
pub use events::{ImageEvent, ImageEvents};
pub use image_content::{ImageConfig, ImageContent, ImageLabels};
pub use images::{Image, ImageManifest, Layer, Platform, chain_id};
pub use node::Version;
pub use snapshots::{Mount, SnapshotInfo};
pub use tasks::{Status, Task};
pub use view::View;
