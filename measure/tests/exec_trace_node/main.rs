//! What `exec-trace` shares on a node, and how a container comes into it and out again. Needs
//! root and BPF.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

#[path = "../common/mod.rs"]
mod common;
mod containers;
mod leftovers;
mod pins;

use std::sync::Arc;

use common::{Container, Image, Node, Recorder};
use lacre_measure::Judge;
use lacre_measure::exec_trace::{self, ExecTraceArmed, Prepared};
use lacre_types::Mode;

/// `128 + SIGKILL`.
const KILLED: i32 = 137;

fn prepared(node: &Node, container: &Container, image: &Image) -> Prepared {
    let target = container.target(image, Mode::Enforce);
    exec_trace::prepare(&target.container, &*target.known, &node.options()).unwrap()
}

fn armed(node: &Node, container: &Container, image: &Image) -> ExecTraceArmed {
    let judge = Recorder::new(Mode::Enforce, image) as Arc<dyn Judge>;
    let target = container.target(image, Mode::Enforce);
    prepared(node, container, image).arm(&target, judge).unwrap()
}
