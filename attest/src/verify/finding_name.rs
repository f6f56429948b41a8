//! Findings for programs: their names, and their JSON.

use lacre_types::escape;
use serde::Serialize;

use super::Finding;

impl Finding {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::QuoteMalformed(_) => "QUOTE_MALFORMED",
            Self::KeyMalformed { .. } => "KEY_MALFORMED",
            Self::QuoteSignature(_) => "QUOTE_SIGNATURE",
            Self::KeyUnsuitable(_) => "KEY_UNSUITABLE",
            Self::OtherKey => "OTHER_KEY",
            Self::Endorsement(_) => "ENDORSEMENT",
            Self::NonceMismatch => "NONCE_MISMATCH",
            Self::NonceStale { .. } => "NONCE_STALE",
            Self::SelectionOther { .. } => "SELECTION_OTHER",
            Self::PcrValues => "PCR_VALUES",
            Self::Rebooted { .. } => "REBOOTED",
            Self::ClockWentBack(_) => "CLOCK_WENT_BACK",
            Self::LogMalformed { .. } => "LOG_MALFORMED",
            Self::AggregateMalformed { .. } => "AGGREGATE_MALFORMED",
            Self::LogGap { .. } => "LOG_GAP",
            Self::LogEdited { .. } => "LOG_EDITED",
            Self::LogRemoved { .. } => "LOG_REMOVED",
            Self::LogTruncated { .. } => "LOG_TRUNCATED",
            Self::LogReordered { .. } => "LOG_REORDERED",
            Self::LogDuplicated { .. } => "LOG_DUPLICATED",
            Self::LogInterleaved { .. } => "LOG_INTERLEAVED",
            Self::LogConcatenated { .. } => "LOG_CONCATENATED",
            Self::LogNotReplayed { .. } => "LOG_NOT_REPLAYED",
            Self::LogRewritten { .. } => "LOG_REWRITTEN",
            Self::LogOfAnotherBoot { .. } => "LOG_OF_ANOTHER_BOOT",
            Self::LogOfAnotherContainer { .. } => "LOG_OF_ANOTHER_CONTAINER",
            Self::NotAnchored(_) => "NOT_ANCHORED",
            Self::LogOverflowed(_) => "LOG_OVERFLOWED",
            Self::LogUnfinished(_) => "LOG_UNFINISHED",
            Self::NothingMeasured(_) => "NOTHING_MEASURED",
            Self::NoHostList(_) => "NO_HOST_LIST",
            Self::LogMissing(_) => "LOG_MISSING",
            Self::Unanchored { .. } => "UNANCHORED",
            Self::PaddedSha1 => "PADDED_SHA1",
            Self::NotFromZero(_) => "NOT_FROM_ZERO",
            Self::NeverExtended { .. } => "NEVER_EXTENDED",
            Self::LinesElsewhere(_) => "LINES_ELSEWHERE",
            Self::KeeperOther(_) => "KEEPER_OTHER",
            Self::AnchorOther { .. } => "ANCHOR_OTHER",
            Self::EventsUnclaimed { .. } => "EVENTS_UNCLAIMED",
            Self::AggregateNotReplayed { .. } => "AGGREGATE_NOT_REPLAYED",
            Self::BootAggregate { .. } => "BOOT_AGGREGATE",
            Self::BootLogMalformed(_) => "BOOT_LOG_MALFORMED",
            Self::BootLogNotReplayed(_) => "BOOT_LOG_NOT_REPLAYED",
            Self::Kernel(_) => "KERNEL",
            Self::HostProgram { .. } => "HOST_PROGRAM",
            Self::HostProgramUnseen(_) => "HOST_PROGRAM_UNSEEN",
            Self::ContainerViolation { .. } => "CONTAINER_VIOLATION",
            Self::More(_) => "MORE",
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("finding", self.name())?;
        map.serialize_entry("note", &self.is_note())?;
        map.serialize_entry("weight", &self.weight())?;
        if let Self::ContainerViolation { container, path, kind, digest, line } = self {
            map.serialize_entry("containerID", &escape(container.as_bytes()))?;
            map.serialize_entry("path", path)?;
            map.serialize_entry("kind", kind)?;
            map.serialize_entry("digest", digest)?;
            map.serialize_entry("line", line)?;
        }
        map.serialize_entry("says", &self.to_string())?;
        map.end()
    }
}
