//! Orders: what would make nodes act on containers, and the gate that it goes through.
//!
//! A node decides by itself. Whatever the server adds to that, by any of its answers, asks here
//! first ([`Gate::may`]): an answer to a report that overrules the node, the action for
//! `LOG_TAMPERED`, a policy that is stricter than the one that a running container has. What
//! touches few containers is done; what would touch many ([`Limits`]), all orders of some minutes
//! counted together, is held until an operator approves it: of one node, where that one alone has
//! too many; of all, where they have together. Held, the node's own decision stands.
//!
//! An answer that waits ([`Reply`]) is for one life of a container, and ends with it. Whatever is
//! decided is on disk ([`Gate::save`]) before whoever asked is answered.

mod decisions;
mod gate;
mod kept;
mod known_policies;
mod order;
mod policies;
mod replies;
mod settling;
mod shown;
mod window;

pub use decisions::DecideError;
pub use gate::{Gate, Leave};
pub use kept::check;
pub use order::{Reply, What};
pub use replies::answered_mark;
pub use window::{Limits, Target};

#[cfg(test)]
mod tests;
