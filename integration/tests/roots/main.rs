//! Baselines of any root: whoever has a container's snapshot, and whatever containerd has kept of
//! its image.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod edited;
mod field;
mod late;
mod origins;
mod warm;
