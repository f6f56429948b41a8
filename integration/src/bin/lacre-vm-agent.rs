//! Runs in a guest of the virtual-machine tests, and does what they ask.

use lacre_integration::vm::{agent, following};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(following::RUN), Some(count)) => following::run_programs(&count),
        (Some(following::MAKE), Some(count)) => following::put_programs(&count),
        _ => agent::serve(),
    }
}
