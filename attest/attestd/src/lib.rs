//! The node's attestation agent: one process that talks to the TPM, so that no shim does,
//! and whose cost is flat in the number of containers.
//!
//! [`node`] is the node's side of it, keys, quotes and lists; [`agent`] asks the policy
//! server what is wanted, and answers; [`anchor`] anchors the lists that shims keep
//! ([`shim_lists`]).

pub mod agent;
pub mod anchor;
pub mod args;
mod final_lists;
pub mod node;
pub mod shim_lists;
