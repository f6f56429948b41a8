//! Nodes that prove themselves: a simulated TPM, the node's agent, the server, and the
//! command line, each a real process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/attesting.rs"]
mod attesting;
#[path = "../../../../attest/tests/common/mod.rs"]
mod common;
#[path = "../support/held_list.rs"]
mod held_list;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/set_clock.rs"]
mod set_clock;
#[path = "../support/mod.rs"]
mod support;

mod alone;
mod clock;
mod evidence;
mod expected;
mod figures;
mod held;
mod host_list;
mod identity;
mod registers;
mod shims;
mod state;
mod tpm;
mod trust;
