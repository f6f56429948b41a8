//! A line of a record file, of whichever kind.

use std::sync::Arc;

use lacre_proto::MAX_RECORD;
use serde::{Deserialize, Serialize};

use crate::ascii_json;
use crate::fair_shares::Owner;
use crate::gap::Gap;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::release::Release;
use crate::stream_place::Place;
use crate::update::Update;

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
