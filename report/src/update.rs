//! The record of what has become known of a violation since its own.

use std::time::SystemTime;

use lacre_types::{Action, rfc3339};
use serde::{Deserialize, Serialize};

use crate::record::{Became, cut};
use crate::stream_place::Place;

/// What has become known of a violation since its record: that it was seen again, or that
/// it went worse than the record says. It follows the record, in the same stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `update`.
    record: UpdateTag,
    /// The number of the violation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How often it was seen by now, from the first time on.
    pub count: u64,
    /// When it was seen last.
    pub last: String,
    /// The worst that it came to.
    pub outcome: Became,
    /// What the policy says is to be done about that.
    pub action: Action,
    /// The rule that gave the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// When this was written.
    pub time: String,
    /// Its number, and the stream that numbers it.
    #[serde(flatten)]
    pub place: Place,
    /// containerd's namespace.
    pub namespace: String,
    /// The node.
    pub node: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum UpdateTag {
    #[serde(rename = "update")]
    Update,
}

impl Update {
    /// What is known by now of violation `of`; the rest is for the caller to fill in.
    pub(crate) fn new(of: Option<u64>, count: u64, node: &str) -> Self {
        Self {
            container_id: String::new(),
            record: UpdateTag::Update,
            of,
            count,
            last: String::new(),
            outcome: Became::Denied,
            action: Action::Skip,
            rule: None,
            time: rfc3339(SystemTime::now()),
            place: Place::default(),
            namespace: String::new(),
            node: cut(node),
        }
    }
}
