//! Raw system calls, fenced: fanotify, perf events, namespaces, freezers, BPF tracepoints

pub mod as_user;
pub mod attributes;
pub mod bound_child;
pub mod environment;
pub mod fanotify;
pub mod fork;
pub mod ima_container;
pub mod inherited;
pub mod lease;
pub mod mmap;
pub mod namespace;
pub mod native;
pub mod perf;
pub mod resident;
pub mod title;
pub mod tracepoint;
pub mod whole_file;
