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
    /// So many containers, of one node or of several, of which each counts for half of that at
    /// most: a node's word about its containers is all that there is, and one that invents them
    /// takes from the others no more.
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

impl Limits {
    /// For how many of its containers one node counts among the others.
    const fn share(&self) -> usize {
        self.containers.div_ceil(2)
    }
}

/// What is too much of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Excess {
    /// All of it.
    Whole,
    /// What is about these nodes; none: nothing is.
    Of(BTreeSet<String>),
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

    /// Forgets what is longer ago than counts.
    pub(super) fn forget(&mut self, now: u64, limits: &Limits) {
        self.0.retain(|_, at| now.saturating_sub(*at) < limits.window.as_secs());
    }

    /// What would be too much with these, of so many nodes.
    pub(super) fn excess(&self, more: &BTreeSet<Target>, nodes: usize, limits: &Limits) -> Excess {
        let all: BTreeSet<&Target> = self.0.keys().chain(more).collect();
        let mut on: BTreeMap<&str, usize> = BTreeMap::new();
        for target in all {
            *on.entry(&target.principal).or_default() += 1;
        }
        let many = on.len() as u64 * 100 > limits.percent.saturating_mul(nodes as u64);
        let together: usize = on.values().map(|count| (*count).min(limits.share())).sum();
        if together >= limits.containers || (on.len() >= limits.least && many) {
            return Excess::Whole;
        }
        let asked = more.iter().map(|target| &*target.principal);
        let alone = |principal: &&str| on.get(principal).is_some_and(|n| *n >= limits.containers);
        Excess::Of(asked.filter(alone).map(str::to_owned).collect())
    }

    /// They are touched now, also those that were before. Whether anything is other than it was.
    pub(super) fn touch(&mut self, targets: BTreeSet<Target>, now: u64) -> bool {
        let mut changed = false;
        for target in targets {
            changed |= self.0.insert(target, now) != Some(now);
        }
        changed
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
        let none = Excess::Of(BTreeSet::new());
        let first = Excess::Of(["tls:0".to_owned()].into());
        for (nodes, each, of, excess) in [
            (1, 19, 1, &none),
            (1, 20, 1, &first),
            (2, 9, 2, &none),
            (2, 10, 2, &Excess::Whole),
            (4, 4, 4, &none),
            (5, 1, 5, &Excess::Whole),
            (5, 1, 249, &Excess::Whole),
            (5, 1, 250, &none),
            (19, 1, 1000, &none),
            (20, 1, 9000, &Excess::Whole),
        ] {
            let is = window.excess(&targets(nodes, each), of, &limits);
            assert_eq!(is, *excess, "{each} on each of {nodes} of {of}");
        }
        window.touch(targets(2, 8), 100);
        assert_eq!(window.excess(&targets(2, 8), 5, &limits), none, "the same once more");
        assert_eq!(window.excess(&targets(5, 1), 5, &limits), Excess::Whole);
        window.forget(699, &limits);
        assert_eq!(window.excess(&targets(2, 10), 5, &limits), Excess::Whole);
        // What is touched again counts from then on.
        assert!(window.touch(targets(1, 8), 650) && !window.touch(targets(1, 8), 650));
        window.forget(700, &limits);
        assert_eq!(window.iter().count(), 8);
        window.forget(1250, &limits);
        assert_eq!(window.iter().count(), 0);
    }

    #[test]
    fn one_node_takes_from_the_others_half_at_most() {
        let (limits, mut window) = (Limits::default(), Window::default());
        window.touch((0..500).map(|id| target(0, id)).collect(), 100);
        let honest = |count| (0..count).map(|id| target(1, id)).collect::<BTreeSet<_>>();
        assert_eq!(window.excess(&honest(9), 2, &limits), Excess::Of(BTreeSet::new()));
        assert_eq!(window.excess(&honest(10), 2, &limits), Excess::Whole);
        let mut both = honest(3);
        both.insert(target(0, 0));
        assert_eq!(window.excess(&both, 2, &limits), Excess::Of(["tls:0".to_owned()].into()));
    }
}
