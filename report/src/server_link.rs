//! Whether the policy server is reached, for `lacre status`.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Whether the policy server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whether it is.
    pub reached: bool,
    /// Since when.
    pub since: SystemTime,
    /// Why not, where that is known.
    pub why: Option<String>,
}

/// The same, as it changes.
#[derive(Debug)]
pub(crate) struct LinkState(Mutex<Link>);

impl Default for LinkState {
    fn default() -> Self {
        Self(Mutex::new(Link { reached: false, since: SystemTime::now(), why: None }))
    }
}

impl LinkState {
    pub(crate) fn read(&self) -> Link {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is reached, or not any more for this reason; since when is since it changed.
    pub(crate) fn set(&self, reached: bool, why: Option<String>) {
        let mut link = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if link.reached != reached {
            (link.reached, link.since) = (reached, SystemTime::now());
        }
        link.why = why;
    }
}
