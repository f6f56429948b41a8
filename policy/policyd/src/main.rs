//! The policy server

fn main() {}
