//! Baselines: find what an image may run, hash it, merge its layers, store and load it.
//!
//! A *layer* is one pass over one lower directory or one layer tar; it holds everything
//! that hides or is hidden. Layers merged as overlayfs does give an [`Baseline`]: the
//! digests of every file that holds code, in one mapped file that all containers of the
//! image share. Beside it, on a node, stands a [`NodeIndex`]: which real inode held that
//! content when it was hashed.
//!
//! The format, field by field, is in `docs/baselines.md`.

mod algorithms;
mod baseline;
mod build;
mod bytes;
mod compare;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod image;
mod kind;
mod last_use;
mod layer;
mod linked_path;
mod lookup;
mod merge;
mod node_index;
mod oci;
mod options;
mod origin;
mod provenance;
mod store;
mod tar;
#[doc(hidden)]
pub mod unpacked;
mod walk;
mod whitelist;

pub use algorithms::Algorithms;
pub use baseline::{Baseline, Entry, Link};
pub use compare::{Difference, compare};
pub use error::{BlobError, Error, FormatError};
pub use image::{Image, Scanned};
pub use lookup::{LayerName, Lookup};
pub use node_index::NodeIndex;
pub use oci::{Platform, Reference};
pub use options::{Limits, NoProgress, Options, Progress, Stacking};
pub use origin::{from_content_store, from_lower, from_oci, from_rootfs};
pub use provenance::Provenance;
pub use store::{Store, open_or_build};
