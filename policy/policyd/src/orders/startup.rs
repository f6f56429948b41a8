//! After a start: orders are gathered until nodes have come back, and then weighed, each whole.

use std::time::Instant;

use super::gate::{Gate, State};
use super::order::{Approved, Order};
use crate::clock::wall;

impl State {
    pub(super) fn gather(&mut self, more: Order) {
        let gathered = &mut self.kept.gathered;
        let Some(order) = gathered.iter_mut().find(|order| order.what == more.what) else {
            gathered.push(more);
            self.changes += 1;
            return;
        };
        let mut changed = more.is_full && !std::mem::replace(&mut order.is_full, true);
        for target in more.targets {
            changed |= order.add(target);
        }
        for reply in more.replies {
            changed |= order.reply(reply);
        }
        self.changes += u64::from(changed);
    }
}

impl Gate {
    /// Nodes have come back: what was gathered is weighed.
    pub fn settle(&self, nodes: impl Fn() -> usize) {
        {
            let mut state = self.state();
            if state.settles.is_none_or(|at| at > Instant::now()) {
                return;
            }
            state.settles = None;
            state.pass(&self.limits);
            for order in std::mem::take(&mut state.kept.gathered) {
                let (mut done, _) = self.weigh(&mut state, order, nodes());
                let principals = done.targets.iter().map(|target| target.principal.clone());
                state.settled.extend(principals);
                if !done.replies.is_empty() {
                    state.kept.last += 1;
                    let reason = "few enough".to_owned();
                    done.id = state.kept.last;
                    done.approved =
                        Some(Approved { at: wall(), by: "the server".to_owned(), reason });
                    state.kept.orders.push(done);
                }
            }
            state.changes += 1;
        }
        self.save_or_say();
        self.tell();
    }

    /// When [`Self::settle`] is to be called, if it is.
    #[must_use]
    pub fn settles(&self) -> Option<Instant> {
        self.state().settles
    }
}
