//! A container's network: cut for ISOLATE, kept cut, and brought back.

pub(crate) mod isolate;
pub(crate) mod link_watch;
pub(crate) mod netlink;
pub(crate) mod state;
