//! The record of an operator's release.

use std::time::SystemTime;

use lacre_types::{Action, rfc3339};
use serde::{Deserialize, Serialize};

use crate::outcome::OutcomeResult;
use crate::record::{Origin, cut};
use crate::stream_place::Place;

/// An operator's word that a container may go on, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `release`.
    record: ReleaseTag,
    /// Whether all that there was to undo is undone.
    pub result: OutcomeResult,
    /// What was undone.
    pub undone: Vec<Action>,
    /// What the policy had done again at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<Action>,
    /// Who asked, as the kernel has it.
    pub uid: u32,
    /// As whom they logged in, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<u32>,
    /// Why, in their words.
    pub reason: String,
    /// When it was done.
    pub time: String,
    /// Its number, and the stream that numbers it.
    #[serde(flatten)]
    pub place: Place,
    /// containerd's namespace.
    pub namespace: String,
    /// The node.
    pub node: String,
    /// What was not undone, and what else is worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum ReleaseTag {
    #[serde(rename = "release")]
    Release,
}

impl Release {
    /// Of that container, done now; the rest is for the caller to fill in.
    #[must_use]
    pub fn new(origin: &Origin, result: OutcomeResult, uid: u32, reason: &str) -> Self {
        Self {
            container_id: cut(&origin.container_id),
            record: ReleaseTag::Release,
            result,
            undone: Vec::new(),
            again: Vec::new(),
            uid,
            login: None,
            reason: cut(reason),
            time: rfc3339(SystemTime::now()),
            place: Place::default(),
            namespace: cut(&origin.namespace),
            node: cut(&origin.node),
            detail: None,
        }
    }

    /// With what was not undone, and what else is worth knowing.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = (!detail.is_empty()).then(|| cut(detail));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    #[test]
    fn the_longest_release_reads_back_and_fits() {
        let text = "\u{1}".repeat(5000);
        let origin =
            Origin { container_id: text.clone(), namespace: text.clone(), ..Origin::default() };
        let mut release = Release::new(&origin, OutcomeResult::Failed, 0, &text).with_detail(&text);
        (release.undone, release.login) = (vec![Action::Pause, Action::Isolate], Some(1000));
        let entry = Entry::from(release);
        let line = entry.encode();
        assert!(line.len() as u64 <= entry.weight() * 2, "{}", line.len());
        assert_eq!(Entry::parse(&line).unwrap(), entry);
        assert!(line.starts_with(b"{\"containerID\":"));
    }
}
