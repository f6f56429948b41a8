//! The number of a line, and the stream that numbers it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

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
