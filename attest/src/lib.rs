//! Evidence of what a node and its containers ran, and its verification.
//!
//! Two layers. The core does no I/O: [`ima`] reads measurement lists, [`replay`] turns
//! them into PCR values, [`container`] checks a container's list against what anchors it,
//! [`tpm2`] reads and checks what a TPM signs, and [`verify`] holds an [`evidence`] file
//! against what is expected of a node.
//! The feature `files` reads what is expected from files; the feature `tpm` adds the thin layer that talks to a TPM.

pub mod boot;
mod bytes;
pub mod container;
pub mod enrol;
pub mod evidence;
#[cfg(feature = "files")]
pub mod expect;
#[doc(hidden)]
pub mod fuzz;
pub mod ima;
pub mod pcr;
pub mod replay;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "tpm")]
pub mod tpm;
pub mod tpm2;
pub mod verify;

pub use bytes::Blob;
