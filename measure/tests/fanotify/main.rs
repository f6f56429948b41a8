//! The fanotify source against real overlays, real processes and the running kernel.
//! They need root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]
#![allow(clippy::print_stdout, reason = "figures are for who runs it")]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod attacks;
mod baseline;
mod changed;
mod container;
mod copy_up;
mod latency;
mod life;
mod openers;
mod opens;
#[path = "../common/place.rs"]
mod place;
mod reading;
mod renames;
mod servers;
mod writing;

use std::sync::Arc;

use baseline::{Baseline, Shared};
use container::Container;
use lacre_measure::Block;
use lacre_measure::fanotify::{FanotifyArmed, Limits, arm_with};
use lacre_types::Mode;

const EPERM: i32 = 1;

struct Guarded {
    armed: Option<FanotifyArmed>,
    baseline: Shared,
    container: Container,
}

impl Guarded {
    fn new(mode: Mode, block: Block) -> Self {
        let container = Container::start(|_| ());
        let baseline = Baseline::of(&container.lower(), mode);
        Self::arm(container, baseline, mode, block, Limits::default())
    }

    fn arm(
        container: Container,
        baseline: Baseline,
        mode: Mode,
        block: Block,
        limits: Limits,
    ) -> Self {
        let baseline = Arc::new(baseline);
        let target = container.target(baseline.clone(), mode, block);
        let armed = arm_with(&target, baseline.clone(), limits).unwrap();
        Self { armed: Some(armed), baseline, container }
    }

    fn failures(&self, name: &str) -> u64 {
        let mut all = self.armed.as_ref().unwrap().failures();
        all.find(|(failure, _)| failure.name() == name).unwrap().1
    }
}
