//! Who is connected, and who was.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lacre_proto::policy::Node;

/// The most principals that are remembered; beyond it, those who were away longest go.
const NODES: usize = 16_384;

/// The table of nodes, in memory alone.
#[derive(Debug, Default)]
pub struct Nodes(Mutex<BTreeMap<String, Known>>);

#[derive(Debug)]
struct Known {
    node: String,
    connections: u32,
    containers: u32,
    seen: SystemTime,
}

impl Nodes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins.
    pub fn opened(&self, principal: &str) {
        let mut nodes = self.lock();
        if nodes.len() >= NODES && !nodes.contains_key(principal) {
            let away = nodes.iter().filter(|(_, known)| known.connections == 0);
            if let Some(oldest) = away.min_by_key(|(_, known)| known.seen).map(|(p, _)| p.clone()) {
                nodes.remove(&oldest);
            }
        }
        let known = nodes.entry(principal.to_owned()).or_insert_with(|| Known {
            node: String::new(),
            connections: 0,
            containers: 0,
            seen: SystemTime::now(),
        });
        known.connections += 1;
        known.seen = SystemTime::now();
    }

    /// A connection ends, and with it the registrations on it.
    pub fn closed(&self, principal: &str, containers: usize) {
        self.change(principal, |known| {
            known.connections = known.connections.saturating_sub(1);
            known.containers = known.containers.saturating_sub(narrow(containers));
        });
    }

    /// A call came, from a node that calls itself so.
    pub fn seen(&self, principal: &str, node: &str) {
        self.change(principal, |known| {
            known.seen = SystemTime::now();
            if known.node != node {
                known.node = node.chars().take(253).collect();
            }
        });
    }

    /// So many containers more, and so many less.
    pub fn containers(&self, principal: &str, more: usize, less: usize) {
        self.change(principal, |known| {
            known.containers = (known.containers + narrow(more)).saturating_sub(narrow(less));
        });
    }

    fn change(&self, principal: &str, f: impl FnOnce(&mut Known)) {
        if let Some(known) = self.lock().get_mut(principal) {
            f(known);
        }
    }

    /// How many there are, connected or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them, as `Status` tells; as many as fit a message.
    #[must_use]
    pub fn list(&self) -> Vec<Node> {
        let nodes = self.lock();
        let shown = nodes.iter().take(4096).map(|(principal, known)| Node {
            principal: principal.clone(),
            node: known.node.clone(),
            connections: known.connections,
            containers: known.containers,
            seen: lacre_report::rfc3339(known.seen),
            ..Node::default()
        });
        shown.collect()
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
