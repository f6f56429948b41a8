//! Raw system calls, fenced: fanotify, perf events, namespaces, freezers

pub mod inherited;
