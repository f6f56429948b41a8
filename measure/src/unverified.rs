//! Why a file could not be verified.

use lacre_types::Digest;

/// Why a file could not be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It is no regular file, or can't be examined.
    #[error("it could not be examined: {0}")]
    Unexamined(String),
    /// Somebody can write to it now.
    #[error("it may be open for writing")]
    Writer,
    /// Its file system does not keep what a lease or a date promises.
    #[error("it lies where nobody can promise that it stays the same ({0})")]
    NoPromise(String),
    /// Which file of which layer it is can't be told.
    #[error("it can't be told which file of which layer it is")]
    Unplaced,
    /// It is larger than what is read, 1 GiB.
    #[error("it has {0} bytes, more than are read (1 GiB)")]
    TooLarge(u64),
    /// Twice it was another after it was read than before.
    #[error("it changes while it is read")]
    Changed,
    /// Reading it failed.
    #[error("reading it failed: {0}")]
    Unreadable(String),
    /// Nobody waits for it any more.
    #[error("nobody waited for it any more")]
    Dropped,
}

/// A file that could not be verified, and what it held when it was looked at: for the record
/// of a violation, never to let it pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    /// Why it could not.
    pub why: Why,
    /// What was read of it.
    pub glimpse: Option<Digest>,
}

impl From<Why> for Unverified {
    fn from(why: Why) -> Self {
        Self { why, glimpse: None }
    }
}
