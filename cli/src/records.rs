//! Records as they lie in files: a node's record file with the older ones beside it, and the
//! segments of a policy server's reports (docs/records.md, docs/policy-server.md).

mod files;
mod line;
mod lines;

pub(crate) use files::{Opened, Place, named};
pub(crate) use line::{Line, Said, plain};
pub(crate) use lines::{Lines, Next};

/// Where shims write their records, unless their configuration says otherwise.
pub(crate) const STANDARD: &str = "/var/log/lacre/violations.jsonl";
