//! What containerd runs this program for, a file each.

pub mod delete;
pub mod delete_finisher;
pub mod info;
mod inner_delete;
mod left_containers;
mod living_guard;
mod neighbours;
pub mod serve;
pub mod start;
mod stdin;
