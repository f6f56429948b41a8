//! Facts of which it is kept apart that something is not so, and that nobody could look.

use serde::Serialize;

/// What was looked at, or why it could not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Seen<T> {
    /// It was seen.
    Seen(T),
    /// It was not: nothing is known of it.
    Unseen(String),
}

impl<T> Seen<T> {
    /// What was seen.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Unseen(_) => None,
        }
    }
}

/// Whether the node gives something, found out by trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Offer {
    /// It does.
    Given,
    /// It lacks what is needed.
    Missing(String),
    /// It has it, and the try failed.
    Failed(String),
    /// Nobody could tell.
    Unseen(String),
}

impl Offer {
    /// Whether it can be counted on.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        matches!(self, Self::Given)
    }
}
