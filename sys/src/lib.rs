//! Raw system calls, fenced: fanotify, perf events, namespaces, freezers

pub mod mmap;
pub mod fanotify;
pub mod lease;
