//! A container that `exec-trace` guards, by the kernel alone.

use std::sync::Arc;

use lacre_measure::Judge;
use lacre_measure::exec_trace::{self, ExecTraceArmed};
use lacre_types::Mode;

use super::{Container, Image, Node, Recorder};

/// `128 + SIGKILL`.
pub const KILLED: i32 = 137;

pub struct Guarded {
    pub container: Container,
    pub judge: Arc<Recorder>,
    pub armed: ExecTraceArmed,
    // after what is pinned on it
    _node: Node,
}

impl Guarded {
    pub fn new(image: &Image, mode: Mode) -> Self {
        Self::after(image, mode, |_, _| {})
    }

    /// With what is done to the container and told to the judge before it is armed.
    pub fn after(image: &Image, mode: Mode, before: impl FnOnce(&Container, &Recorder)) -> Self {
        let node = Node::new();
        let container = Container::new(image);
        let judge = Recorder::new(mode, image);
        before(&container, &judge);
        let target = container.target(image, mode);
        let for_the_source = Arc::clone(&judge) as Arc<dyn Judge>;
        let armed = exec_trace::arm(&target, for_the_source, &node.options()).unwrap();
        Self { container, judge, armed, _node: node }
    }
}
