//! Who hears what a reporter is told.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use lacre_report::{Answer, Config, Container, Events, Note, Reporter, StoredPolicy};
use lacre_types::Action;

/// What a reporter was told.
#[derive(Debug)]
pub(crate) enum Said {
    Policy(StoredPolicy),
    Answer { number: u64, action: Action, overrules: bool },
    Tampered(u64),
    Note(Note),
}

struct Ear(Sender<Said>);

impl Events for Ear {
    fn policy(&self, namespace: &str, container: &str, policy: &StoredPolicy) {
        assert_eq!((namespace, container), ("test", "c"));
        let _ = self.0.send(Said::Policy(policy.clone()));
    }
    fn answer(&self, number: u64, answer: &Answer, overrules: bool, _: &str) {
        assert_eq!(answer.container_id, "c");
        let _ = self.0.send(Said::Answer { number, action: answer.action, overrules });
    }
    fn tampered(&self, container: &str, since: u64) {
        assert_eq!(container, "c");
        let _ = self.0.send(Said::Tampered(since));
    }
    fn note(&self, note: Note) {
        let _ = self.0.send(Said::Note(note));
    }
}

/// A reporter, and what it is told.
pub(crate) fn reporter(config: Config) -> (Reporter, Receiver<Said>) {
    let (sender, said) = channel();
    (Reporter::start(config, Arc::new(Ear(sender))).unwrap(), said)
}

/// The container that records of these tests are of.
pub(crate) fn container() -> Container {
    Container {
        id: "c".into(),
        namespace: "test".into(),
        generation: "0a".into(),
        ..Container::default()
    }
}

/// Hears nothing, and prints what is noted.
pub(crate) struct Quiet;

impl Events for Quiet {
    fn policy(&self, _: &str, _: &str, _: &StoredPolicy) {}
    fn answer(&self, _: u64, _: &Answer, _: bool, _: &str) {}
    fn note(&self, note: Note) {
        eprintln!("{note}: {:?}", note.error());
    }
}
