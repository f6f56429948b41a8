//! What is told of an action that was done, or could not be.

use std::time::Duration;

use lacre_types::Action;
use serde::{Deserialize, Serialize};

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which one.
    pub action: Action,
    /// Whether it is done: by this call, or already before it.
    pub done: bool,
    /// What was done, or why not; for a person, in one line.
    pub detail: String,
    /// From being asked to being done. Microseconds in JSON.
    #[serde(rename = "took_us", with = "micros")]
    pub took: Duration,
    /// What it was done for, as the caller gave it.
    pub cause: String,
    /// Whether it is on record already: by the helper, which may outlive who asked.
    #[serde(default)]
    pub recorded: bool,
    /// It was broken off for this worse one, so that nothing needs to be done in its stead.
    #[serde(default)]
    pub overtaken_by: Option<Action>,
}

/// What came of an action, for those who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Became {
    pub(crate) done: bool,
    pub(crate) detail: String,
    pub(crate) recorded: bool,
    pub(crate) overtaken_by: Option<Action>,
}

impl Became {
    /// For one of those who asked.
    pub(crate) fn outcome(self, action: Action, cause: String, took: Duration) -> Outcome {
        let Self { done, detail, recorded, overtaken_by } = self;
        Outcome { action, done, detail, took, cause, recorded, overtaken_by }
    }
}

impl From<(bool, String)> for Became {
    fn from((done, detail): (bool, String)) -> Self {
        Self { done, detail, recorded: false, overtaken_by: None }
    }
}

mod micros {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(
        took: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}
