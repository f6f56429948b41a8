//! The record of what came of an action.

use std::time::SystemTime;

use lacre_types::{Action, rfc3339};
use serde::{Deserialize, Serialize};

use crate::record::{Origin, cut};
use crate::stream_place::Place;

/// How an action went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeResult {
    /// It is done: by this call, or already before it.
    Done,
    /// It is not done.
    Failed,
}

/// What came of an action. It follows the violation that it answers, in the same stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `outcome`.
    record: OutcomeTag,
    /// The action that was asked for.
    pub action: Action,
    /// How it went.
    pub result: OutcomeResult,
    /// When it was finished.
    pub time: String,
    /// Its number, and the stream that numbers it.
    #[serde(flatten)]
    pub place: Place,
    /// containerd's namespace.
    pub namespace: String,
    /// The node.
    pub node: String,
    /// The number of the violation that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How many equal outcomes this line stands for, within moments of each other; absent
    /// for one. The rest of the line is of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How long it took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
    /// What went wrong, or what was done instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum OutcomeTag {
    #[serde(rename = "outcome")]
    Outcome,
}

impl Outcome {
    /// What came of an action on that container; the rest is for the caller to fill in.
    #[must_use]
    pub fn new(origin: &Origin, action: Action, result: OutcomeResult) -> Self {
        Self {
            container_id: cut(&origin.container_id),
            record: OutcomeTag::Outcome,
            action,
            result,
            time: rfc3339(SystemTime::now()),
            place: Place::default(),
            namespace: cut(&origin.namespace),
            node: cut(&origin.node),
            of: None,
            count: None,
            micros: None,
            detail: None,
        }
    }

    /// How many outcomes it stands for.
    #[must_use]
    pub fn times(&self) -> u64 {
        self.count.unwrap_or(1)
    }
}
