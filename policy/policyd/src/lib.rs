//! The policy server
