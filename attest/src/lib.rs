//! Evidence of what a node and its containers ran, and its verification.
//!
//! Two layers. The core does no I/O: [`ima`] reads measurement lists, [`replay`] turns
//! them into PCR values, [`container`] checks a container's list against what anchors it.
//! The feature `tpm` adds the thin layer that talks to a TPM.

mod bytes;
pub mod container;
pub mod ima;
pub mod pcr;
pub mod replay;
#[cfg(feature = "tpm")]
pub mod tpm;
pub mod tpm2;

pub use bytes::Blob;
