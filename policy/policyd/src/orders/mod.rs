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

mod approved_answers;
mod decisions;
mod gate;
mod known_policies;
mod messages;
mod order;
mod order_file;
mod policies;
mod startup;
mod window;

pub use approved_answers::answered_mark;
pub use decisions::DecideError;
pub use gate::{Gate, Leave};
pub use order::{Reply, What};
pub use order_file::check;
pub use window::{Limits, Target};

#[cfg(test)]
mod tests;
