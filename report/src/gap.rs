//! The record of records that are missing.

use std::time::SystemTime;

use lacre_types::{ViolationKind, rfc3339};
use serde::{Deserialize, Serialize};

use crate::fair_shares::Owner;
use crate::record::cut;
use crate::stream_place::Place;

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The spool reached its bound.
    SpoolFull,
    /// The disk refused the spool.
    SpoolFailed,
    /// The memory in which records wait for the disk reached its bound.
    QueueFull,
    /// One container had more different violations than it has room for records.
    Flood,
    /// An interpreter of one container read more different files than it has room for records.
    Reports,
    /// The last frame of a spool was torn, by a crash in the middle of its writing.
    Torn,
}

impl GapReason {
    /// Of a kind of which one container had more than it has room for.
    pub(crate) const fn beyond(kind: ViolationKind) -> Self {
        match kind {
            ViolationKind::Report => Self::Reports,
            _ => Self::Flood,
        }
    }
}

/// Records are missing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// `gap`.
    record: GapTag,
    /// Why.
    pub reason: GapReason,
    /// The container whose records they are; absent where they are of several, or of none.
    #[serde(rename = "containerID", default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// containerd's namespace of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How many uses of code have no record; absent when the loss has begun and is not over, or nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// When it was noticed, or was over.
    pub time: String,
    /// Its number, and the stream that numbers it.
    #[serde(flatten)]
    pub place: Place,
    /// The node.
    pub node: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum GapTag {
    #[serde(rename = "gap")]
    Gap,
}

impl Gap {
    /// A loss, noticed now.
    #[must_use]
    pub fn new(reason: GapReason, lost: Option<u64>, node: &str) -> Self {
        Self {
            record: GapTag::Gap,
            reason,
            container_id: None,
            namespace: None,
            lost,
            time: rfc3339(SystemTime::now()),
            place: Place::default(),
            node: cut(node),
        }
    }

    /// The loss of one container.
    #[must_use]
    pub(crate) fn of(mut self, owner: &Owner) -> Self {
        if let Some((namespace, container)) = owner.as_ref().and_then(|owner| owner.split_once('/'))
        {
            self.container_id = Some(container.to_owned());
            self.namespace = Some(namespace.to_owned());
        }
        self
    }
}
