//! Runs in a guest of the virtual-machine tests, and does what they ask.

use lacre_integration::vm::{agent, follow_latency};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(follow_latency::RUN), Some(count)) => follow_latency::run_programs(&count),
        (Some(follow_latency::MAKE), Some(count)) => follow_latency::put_programs(&count),
        (Some(agent::LET_GO), Some(list)) => agent::let_go(&list),
        _ => agent::serve(),
    }
}
