use serde::{Deserialize, Serialize};

/// How an action went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeResult {
    /// It is done: by this call, or already before it.
    Done,
    /// It is not done.
    Failed,
}
