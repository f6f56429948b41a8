//! Which containers orders have touched within the time that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// From when on an order waits for an operator.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Percent of the nodes, above which it waits,
    pub percent: u64,
    /// if it is at least so many nodes.
    pub least: usize,
    /// So many containers, wherever they are.
    pub containers: usize,
    /// Within so long, all orders together.
    pub window: Duration,
    /// For how long after the server's start orders are gathered before they are counted, so that
    /// nodes have come back.
    pub settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            percent: 2,
            least: 5,
            containers: 20,
            window: Duration::from_secs(600),
            settle: Duration::from_secs(30), // the longest that a shim waits to connect again
        }
    }
}

/// A container that an order is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Whose it is.
    pub principal: String,
    /// containerd's namespace.
    pub namespace: String,
    /// containerd's id.
    pub id: String,
}

/// The containers that were touched, each with when it was last, in seconds since the machine
/// was started.
#[derive(Debug, Default)]
pub(super) struct Window(BTreeMap<Target, u64>);

impl Window {
    /// What was kept of one. What was touched before the machine was last started counts as
    /// touched now: nobody knows how long ago that was.
    pub(super) fn of(kept: impl Iterator<Item = (Target, Option<u64>)>, now: u64) -> Self {
        Self(kept.map(|(target, at)| (target, at.unwrap_or(now).min(now))).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Target, u64)> {
        self.0.iter().map(|(target, at)| (target, *at))
    }

    pub(super) fn has(&self, target: &Target) -> bool {
        self.0.contains_key(target)
    }

    /// Forgets what is longer ago than counts.
    pub(super) fn forget(&mut self, now: u64, limits: &Limits) {
        self.0.retain(|_, at| now.saturating_sub(*at) < limits.window.as_secs());
    }

    /// Whether with these there would be too many, of so many nodes.
    pub(super) fn exceeds(&self, more: &BTreeSet<Target>, nodes: usize, limits: &Limits) -> bool {
        let all: BTreeSet<&Target> = self.0.keys().chain(more).collect();
        let on: BTreeSet<&str> = all.iter().map(|target| &*target.principal).collect();
        let many = on.len() as u64 * 100 > limits.percent.saturating_mul(nodes as u64);
        all.len() >= limits.containers || (on.len() >= limits.least && many)
    }

    pub(super) fn touch(&mut self, targets: BTreeSet<Target>, now: u64) {
        self.0.extend(targets.into_iter().map(|target| (target, now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(node: usize, id: usize) -> Target {
        let (principal, id) = (format!("tls:{node}"), id.to_string());
        Target { principal, namespace: "n".to_owned(), id }
    }

    fn targets(nodes: usize, each: usize) -> BTreeSet<Target> {
        let of = |node| (0..each).map(move |id| target(node, id));
        (0..nodes).flat_map(of).collect()
    }

    #[test]
    fn containers_and_nodes_are_counted_each_once_and_together() {
        let limits = Limits::default();
        let mut window = Window::default();
        for (nodes, each, of, exceeds) in [
            (1, 19, 1, false),
            (1, 20, 1, true),
            (4, 4, 4, false),
            (5, 1, 5, true),
            (5, 1, 249, true),
            (5, 1, 250, false),
            (19, 1, 1000, false),
        ] {
            let is = window.exceeds(&targets(nodes, each), of, &limits);
            assert_eq!(is, exceeds, "{each} on each of {nodes} of {of}");
        }
        window.touch(targets(2, 8), 100);
        assert!(!window.exceeds(&targets(2, 8), 5, &limits), "the same once more");
        assert!(window.exceeds(&targets(5, 1), 5, &limits));
        window.forget(699, &limits);
        assert!(window.exceeds(&targets(2, 10), 5, &limits));
        window.forget(700, &limits);
        assert_eq!(window.iter().count(), 0);
    }
}
