//! What is wrong with a measurement.

use crate::words::words;
use crate::{Digest, Measurement};

/// Why a measurement is not what the baseline allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViolationKind {
    /// The baseline has no file of that path.
    EntryNotFound,
    /// The baseline has the path, with another digest.
    InvalidHash,
    /// The container has no baseline.
    NoWhitelist,
    /// Code that has no file: a program in memory, and, where the policy says `JIT: deny`,
    /// memory that was made executable.
    Fileless,
    /// The code of a file was changed after it was measured.
    CodeModified,
    /// A log went back, or does not match what anchors it.
    LogTampered,
    /// A source stopped, or lost events: from here on, nobody knows.
    SourceLost,
    /// No violation: an interpreter opened a file that did not come with the image, and nothing
    /// said that it is code. It may be data; nobody can tell.
    Report,
}

words!(ViolationKind, "a kind of violation", {
    EntryNotFound => "ENTRY_NOT_FOUND", InvalidHash => "INVALID_HASH",
    NoWhitelist => "NO_WHITELIST", Fileless => "FILELESS", CodeModified => "CODE_MODIFIED",
    LogTampered => "LOG_TAMPERED", SourceLost => "SOURCE_LOST",
    Report => "REPORT",
});

/// A measurement that the baseline does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Why.
    pub kind: ViolationKind,
    /// What was seen.
    pub measurement: Measurement,
    /// What the baseline has under that path, if it has it.
    pub expected: Option<Digest>,
}

impl Violation {
    /// The line of Sarmento's figure 1: `ALGORITHM:HEX PATH` and a line feed. The path is
    /// escaped; a file that nobody could read has `-` for its digest.
    #[must_use]
    pub fn line(&self) -> String {
        let path = self.measurement.shown_path();
        match self.measurement.digest() {
            Some(digest) => format!("{digest} {path}\n"),
            None => format!("- {path}\n"),
        }
    }
}
