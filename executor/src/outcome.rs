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
