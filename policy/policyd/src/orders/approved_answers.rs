//! Answers that were approved, and the lives of containers that they are for.

use super::gate::Gate;
use super::order::{Order, Reply, What};
use super::window::Target;

impl Gate {
    /// An answer that somebody approved and that was not given yet, with its order, for that life
    /// of a container. `version` is what the node has of the container: it tells what was given.
    pub fn reply(&self, target: &Target, life: &str, version: &str) -> Option<(u64, Reply)> {
        let mut state = self.state();
        let given: Vec<u64> = version.split('+').filter_map(answered).collect();
        let (mut found, mut forgotten) = (None, false);
        for order in state.kept.orders.iter_mut().filter(|order| order.approved.is_some()) {
            if given.contains(&order.id) {
                forgotten |= order.forget(target, life);
            }
            let is_mine = |reply: &&Reply| reply.target == *target && reply.life == life;
            if found.is_none() {
                found = order.replies.iter().find(is_mine).map(|reply| (order.id, reply.clone()));
            }
        }
        if forgotten {
            state.changes += 1;
            self.bury(&mut state, Order::is_answered);
        }
        found
    }

    /// The lives of a container that something waits for.
    #[must_use]
    pub fn lives(&self, target: &Target) -> Vec<String> {
        let state = self.state();
        let orders = state.kept.orders.iter().chain(&state.kept.gathered);
        let of_node = orders.filter(|order| is_about(order, target));
        let replies = of_node.flat_map(|order| &order.replies);
        replies.filter(|reply| reply.target == *target).map(|reply| reply.life.clone()).collect()
    }

    /// That life of a container is over, and what was answered to it: whatever has its id next did
    /// nothing.
    pub fn ended(&self, target: &Target, life: &str) {
        let buried = {
            let mut state = self.state();
            let kept = &mut state.kept;
            let mut changed = false;
            for order in kept.orders.iter_mut().chain(&mut kept.gathered) {
                changed |= is_about(order, target) && order.forget(target, life);
            }
            if !changed {
                return;
            }
            kept.gathered.retain(|order| !order.is_answered());
            state.changes += 1;
            self.bury(&mut state, Order::is_answered)
        };
        if buried > 0 {
            self.tell();
        }
    }
}

fn is_about(order: &Order, target: &Target) -> bool {
    matches!(&order.what, What::Answers { principal } if *principal == target.principal)
}

/// What a container's version ends in once an approved answer was given.
#[must_use]
pub fn answered_mark(order: u64) -> String {
    format!("+answered@{order}")
}

fn answered(part: &str) -> Option<u64> {
    part.strip_prefix("answered@")?.parse().ok()
}
