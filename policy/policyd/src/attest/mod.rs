//! Attestation of nodes: enrolment, challenges, verdicts, and what is kept of each.
//!
//! A node's agent asks what is wanted ([`service`]); the [`nodes`] hold all nodes in memory
//! and on disk, and holds their evidence against what the [`config`] expects. What is
//! thought of a node belongs to its principal, as its reports do.

mod administer;
pub mod config;
mod error;
mod files;
mod incident;
pub mod nodes;
pub mod record;
pub mod service;
mod tpm;
mod upload;

pub use files::check;
