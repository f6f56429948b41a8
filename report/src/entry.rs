use std::sync::Arc;

use lacre_proto::MAX_RECORD;
use lacre_types::{Action, ViolationKind, rfc3339};
use serde::{Deserialize, Serialize};

use crate::ascii_json;
use crate::fair_shares::Owner;
use crate::outcome_result::OutcomeResult;
use crate::record::{Became, Origin, Record, cut};
use crate::release::Release;
use crate::stream_place::Place;

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
enum OutcomeTag {
    #[serde(rename = "outcome")]
    Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum UpdateTag {
    #[serde(rename = "update")]
    Update,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum GapTag {
    #[serde(rename = "gap")]
    Gap,
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
            time: rfc3339(std::time::SystemTime::now()),
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
            time: rfc3339(std::time::SystemTime::now()),
            place: Place::default(),
            namespace: String::new(),
            node: cut(node),
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
            container_id: None,
            namespace: None,
            lost,
            time: rfc3339(std::time::SystemTime::now()),
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

/// One line of a record file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// A violation; the only one that has `notificate`.
    Violation(Box<Record>),
    /// What came of an action.
    Outcome(Box<Outcome>),
    /// What has become known of a violation since.
    Update(Box<Update>),
    /// Records are missing.
    Gap(Box<Gap>),
    /// An operator has let a container go on.
    Release(Box<Release>),
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
            Some("update") => serde_json::from_slice(line).map(|r| Self::Update(Box::new(r))),
            Some("release") => serde_json::from_slice(line).map(|r| Self::Release(Box::new(r))),
            Some(_) => serde_json::from_slice(line).map(|r| Self::Gap(Box::new(r))),
        };
        entry.map_err(EntryError::Json)
    }

    /// The line, without its line feed: printable ASCII, at most [`MAX_RECORD`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        ascii_json::line(self).unwrap_or_default()
    }

    /// Gives it its place in a stream.
    pub(crate) fn number(&mut self, in_stream: Option<&Arc<str>>, number: Option<u64>) {
        let place = match self {
            Self::Violation(record) => &mut record.place,
            Self::Outcome(outcome) => &mut outcome.place,
            Self::Update(update) => &mut update.place,
            Self::Gap(gap) => &mut gap.place,
            Self::Release(release) => &mut release.place,
        };
        *place = Place { stream: in_stream.cloned(), seq: number };
    }

    /// The number of the violation that it is about.
    pub(crate) const fn answers(&mut self, number: u64) {
        match self {
            Self::Outcome(outcome) => outcome.of = Some(number),
            Self::Update(update) => update.of = Some(number),
            Self::Violation(_) | Self::Gap(_) | Self::Release(_) => {}
        }
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> Owner {
        let (namespace, container) = match self {
            Self::Violation(record) => (&record.namespace, &record.container_id),
            Self::Outcome(outcome) => (&outcome.namespace, &outcome.container_id),
            Self::Update(update) => (&update.namespace, &update.container_id),
            Self::Release(release) => (&release.namespace, &release.container_id),
            Self::Gap(gap) => (gap.namespace.as_ref()?, gap.container_id.as_ref()?),
        };
        Some(format!("{namespace}/{container}").into())
    }

    /// Its memory, and about the bytes of its line.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Violation(record) => record.weight(),
            // Reason and detail have 1 KiB each, of which a byte may become six.
            Self::Release(_) => 14 * 1024,
            _ => 1024,
        }
    }
}

impl From<Update> for Entry {
    fn from(update: Update) -> Self {
        Self::Update(Box::new(update))
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

impl From<Release> for Entry {
    fn from(release: Release) -> Self {
        Self::Release(Box::new(release))
    }
}

impl From<Gap> for Entry {
    fn from(gap: Gap) -> Self {
        Self::Gap(Box::new(gap))
    }
}
