//! What is told of orders: to nodes, to people, and by which policies they are weighed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_policy::Policy;
use lacre_proto::policy::{Held, Order as Shown};
use slog::warn;

use super::gate::Gate;
use super::order::{Order, Reply, What};
use super::window::Target;
use crate::policy::PolicyFile;
use crate::reloaded_file::Loaded;

/// How often the log says again that orders wait.
const AGAIN: Duration = Duration::from_secs(600);

impl Gate {
    /// What that node's version ends in, so that it asks again when it is to be told otherwise.
    #[must_use]
    pub fn mark(&self, principal: &str) -> String {
        let state = self.state();
        let mut mark = String::new();
        for order in state.kept.orders.iter().filter(|order| order.concerns(principal)) {
            let is = if order.approved.is_some() { "approved" } else { "held" };
            let _ = write!(mark, "+{is}@{}", order.id);
        }
        if state.settled.contains(principal) {
            mark.push_str("+settled");
        }
        mark
    }

    /// The orders about a container that wait.
    #[must_use]
    pub fn held(&self, target: &Target) -> Vec<Held> {
        let state = self.state();
        let waits = |order: &&Order| order.approved.is_none() && order.targets.contains(target);
        state.kept.orders.iter().filter(waits).map(|order| order.held(target)).collect()
    }

    /// An answer that somebody approved and that was not given yet, with its order. `version` is
    /// what the node has of the container: it tells what was given.
    pub fn reply(&self, target: &Target, version: &str) -> Option<(u64, Reply)> {
        let mut state = self.state();
        let given: Vec<u64> = version.split('+').filter_map(answered).collect();
        let mut found = None;
        for order in state.kept.orders.iter_mut().filter(|order| order.approved.is_some()) {
            let mine = order.replies.iter().position(|reply| reply.target == *target);
            let Some(at) = mine else { continue };
            if given.contains(&order.id) {
                order.replies.remove(at);
            } else if found.is_none() {
                found = Some((order.id, order.replies[at].clone()));
            }
        }
        if !given.is_empty() {
            self.bury(&mut state, |order| {
                let answers = matches!(order.what, What::Answers { .. });
                answers && order.approved.is_some() && order.replies.is_empty()
            });
        }
        found
    }

    /// All orders, for those who ask.
    #[must_use]
    pub fn list(&self) -> Vec<Shown> {
        self.state().kept.orders.iter().map(Order::show).collect()
    }

    /// Says again what waits, once in a while.
    pub fn remind(&self) {
        let mut state = self.state();
        if state.said.is_some_and(|said| said.elapsed() < AGAIN) {
            return;
        }
        state.said = Some(Instant::now());
        for order in state.kept.orders.iter().filter(|order| order.approved.is_none()) {
            self.say(order, "an order waits for an operator");
        }
    }

    /// The policy that was in force under that version.
    #[must_use]
    pub fn policy(&self, version: &str) -> Option<Arc<Policy>> {
        self.policies.get(version)
    }

    /// Keeps a policy that comes in force.
    pub fn keep_policy(&self, loaded: &Loaded<PolicyFile>) {
        let kept = self.policies.keep(&loaded.version, &loaded.policy, &loaded.text);
        if let Err(error) = kept {
            warn!(self.log, "the policy can't be kept: how strict it was is not known after a \
                restart"; "version" => &loaded.version, "error" => %error);
        }
    }
}

/// What a container's version ends in once an approved answer was given.
#[must_use]
pub fn answered_mark(order: u64) -> String {
    format!("+answered@{order}")
}

fn answered(part: &str) -> Option<u64> {
    part.strip_prefix("answered@")?.parse().ok()
}
