use std::sync::Arc;

use lacre_proto::MAX_RECORD;
use lacre_types::Action;
use serde::{Deserialize, Serialize};

use crate::json;
use crate::record::{Record, cut};

/// Where a line stands among the others of its shim.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// The stream that numbers it; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Arc<str>>,
    /// Its number in the stream; absent when the spool had no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

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
    /// How long it took, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
    /// What went wrong, or what was done instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The spool reached its bound.
    SpoolFull,
    /// The disk refused the spool.
    SpoolFailed,
    /// The queue of the record file reached its bound.
    QueueFull,
    /// The last frame of a spool was torn, by a crash in the middle of its writing.
    Torn,
}

/// Records are missing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// `gap`.
    record: GapTag,
    /// Why.
    pub reason: GapReason,
    /// How many; absent when the loss has begun and is not over, or nobody can tell.
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
enum OutcomeTag {
    #[serde(rename = "outcome")]
    Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum GapTag {
    #[serde(rename = "gap")]
    Gap,
}

impl Outcome {
    /// What came of an action on that container; the rest is for the caller to fill in.
    #[must_use]
    pub fn new(origin: &crate::Origin, action: Action, result: OutcomeResult) -> Self {
        Self {
            container_id: cut(&origin.container_id),
            record: OutcomeTag::Outcome,
            action,
            result,
            time: crate::rfc3339(std::time::SystemTime::now()),
            place: Place::default(),
            namespace: cut(&origin.namespace),
            node: cut(&origin.node),
            of: None,
            micros: None,
            detail: None,
        }
    }
}

impl Gap {
    /// A loss, noticed now.
    #[must_use]
    pub fn new(reason: GapReason, lost: Option<u64>, node: &str) -> Self {
        Self {
            record: GapTag::Gap,
            reason,
            lost,
            time: crate::rfc3339(std::time::SystemTime::now()),
            place: Place::default(),
            node: cut(node),
        }
    }
}

/// One line of a record file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// A violation; the only one that has `notificate`.
    Violation(Box<Record>),
    /// What came of an action.
    Outcome(Box<Outcome>),
    /// Records are missing.
    Gap(Box<Gap>),
}

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It is longer than any record.
    #[error("the record has {0} bytes, more than any record has ({MAX_RECORD})")]
    TooLong(usize),
    /// It is not JSON, or a field is missing, unknown or of another type.
    #[error("reading the record, which is one JSON object as docs/records.md has it")]
    Json(#[source] serde_json::Error),
}

impl Entry {
    /// Reads a line, with or without its line feed.
    ///
    /// # Errors
    /// When it is not a record.
    pub fn parse(line: &[u8]) -> Result<Self, EntryError> {
        #[derive(Deserialize)]
        struct Tag {
            record: Option<String>,
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.len() > MAX_RECORD {
            return Err(EntryError::TooLong(line.len()));
        }
        let tag: Tag = serde_json::from_slice(line).map_err(EntryError::Json)?;
        let entry = match tag.record.as_deref() {
            None => serde_json::from_slice(line).map(|r| Self::Violation(Box::new(r))),
            Some("outcome") => serde_json::from_slice(line).map(|r| Self::Outcome(Box::new(r))),
            Some(_) => serde_json::from_slice(line).map(|r| Self::Gap(Box::new(r))),
        };
        entry.map_err(EntryError::Json)
    }

    /// The line, without its line feed: printable ASCII, at most [`MAX_RECORD`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        json::line(self).unwrap_or_default()
    }

    /// Gives it its place in a stream.
    pub(crate) fn number(&mut self, in_stream: Option<&Arc<str>>, number: Option<u64>) {
        let place = match self {
            Self::Violation(record) => &mut record.place,
            Self::Outcome(outcome) => &mut outcome.place,
            Self::Gap(gap) => &mut gap.place,
        };
        *place = Place { stream: in_stream.cloned(), seq: number };
    }
}

impl From<Record> for Entry {
    fn from(record: Record) -> Self {
        Self::Violation(Box::new(record))
    }
}

impl From<Outcome> for Entry {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(Box::new(outcome))
    }
}

impl From<Gap> for Entry {
    fn from(gap: Gap) -> Self {
        Self::Gap(Box::new(gap))
    }
}
