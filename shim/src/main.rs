//! The shim: wraps the ordinary one, and guards what runs in it

fn main() {}
