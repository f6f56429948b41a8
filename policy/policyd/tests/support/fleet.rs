//! Many containers, of one or more nodes, and what their shims hear.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lacre_policy::Effective;
use lacre_proto::Connector;
use lacre_report::{Answer, Config, Container, Events, Held, Note, Reporter, StoredPolicy};
use lacre_types::{Action, ViolationKind};

use super::{LONG, until};

/// What was said about one container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// What the policy that came does about a file that is not the image's.
    Policy(Action),
    Held(u64, String),
    Tampered,
    Overruled(Action),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ears(Arc<Mutex<BTreeMap<String, Vec<Heard>>>>);

impl Ears {
    fn hear(&self, container: &str, heard: Heard) {
        self.0.lock().unwrap().entry(container.to_owned()).or_default().push(heard);
    }

    pub(crate) fn of(&self, container: &str) -> Vec<Heard> {
        self.0.lock().unwrap().get(container).cloned().unwrap_or_default()
    }

    /// How many containers have heard that.
    pub(crate) fn count(&self, heard: &Heard) -> usize {
        self.0.lock().unwrap().values().filter(|all| all.contains(heard)).count()
    }

    /// How many have heard of that order.
    pub(crate) fn held(&self, order: u64) -> usize {
        let is = |heard: &Heard| matches!(heard, Heard::Held(id, _) if *id == order);
        self.0.lock().unwrap().values().filter(|all| all.iter().any(is)).count()
    }

    pub(crate) fn wait_for(&self, count: usize, heard: &Heard) {
        until(&format!("{heard:?} {count} times: {:?}", self.0), || self.count(heard) == count);
    }
}

impl Events for Ears {
    fn policy(&self, _: &str, container: &str, policy: &StoredPolicy) {
        let effective = Effective::from_json(&policy.effective).unwrap();
        let action = effective.decide(ViolationKind::EntryNotFound, None).action;
        self.hear(container, Heard::Policy(action));
    }
    fn answer(&self, number: u64, answer: &Answer, overrules: bool, _: &str) {
        if overrules && number > 0 {
            self.hear(&answer.container_id, Heard::Overruled(answer.action));
        }
    }
    fn tampered(&self, container: &str, _: u64) {
        // As the shim does: once for each time that it was found.
        if !self.of(container).contains(&Heard::Tampered) {
            self.hear(container, Heard::Tampered);
        }
    }
    fn held(&self, container: &str, held: &Held) {
        self.hear(container, Heard::Held(held.order, held.action.clone()));
    }
    fn note(&self, note: Note) {
        eprintln!("{note}: {:?}", note.error());
    }
}

/// The shims of a node.
pub(crate) struct Shims {
    pub(crate) reporter: Reporter,
    pub(crate) ears: Ears,
}

impl Shims {
    pub(crate) fn start(dir: &Path, node: &str, to: &Connector) -> Self {
        let mut config = Config::new(node, dir.join(format!("shims-{node}")));
        config.server = Some(to.clone());
        let ears = Ears::default();
        let reporter = Reporter::start(config, Arc::new(ears.clone())).unwrap();
        Self { reporter, ears }
    }

    /// Makes so many containers known, with names from there on.
    pub(crate) fn run(&self, from: usize, count: usize) {
        for number in from..from + count {
            self.begin(number, &format!("{number:032x}"));
        }
    }

    /// One life of a container begins.
    pub(crate) fn begin(&self, number: usize, generation: &str) {
        let container = Container {
            id: format!("c{number}"),
            namespace: "test".to_owned(),
            generation: generation.to_owned(),
            ..Container::default()
        };
        assert!(self.reporter.register(container));
    }

    pub(crate) fn stop(self) {
        self.reporter.stop(LONG);
    }
}
