//! How bad each finding is.

use serde::Serialize;

use super::{Finding, Log};

/// What a finding does to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Only to be known: what it tells of is either lawful or was left out of what is trusted.
    Note,
    /// It leaves its question open: firmware, or something else that had a right to, did what
    /// can't be told from worse. Who says why may do without the question.
    Open,
    /// Lines are missing from a list that is true as far as it goes. Nothing false was shown;
    /// but what is missing was not checked, and nobody can do without it.
    Gap,
    /// Something is wrong, and truly told of; or it came too late, or was asked otherwise.
    Fault,
    /// What was shown is not the truth, or not all of it: a list that was altered, or a quote
    /// that is not this TPM's answer.
    Tampering,
}

impl Finding {
    /// What it does to the verdict.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        match self {
            Self::Rebooted { .. }
            | Self::Unanchored { .. }
            // Its events say so themselves.
            | Self::NothingMeasured(Log::Container(_)) => Weight::Note,
            Self::ClockWentBack(_)
            | Self::NoHostList(_)
            | Self::LinesElsewhere(_)
            | Self::KeeperOther(_)
            | Self::AnchorOther { .. }
            | Self::EventsUnclaimed { .. }
            | Self::AggregateNotReplayed { .. }
            | Self::BootAggregate { .. }
            | Self::BootLogMalformed(_)
            | Self::BootLogNotReplayed(_) => Weight::Open,
            Self::LogOverflowed(_)
            | Self::LogUnfinished(_)
            | Self::NotFromZero(_)
            // Others may have exported the lines before, and had the kernel delete them.
            | Self::LogGap { log: Log::Host, .. }
            | Self::NeverExtended { .. } => Weight::Gap,
            Self::NonceStale { .. }
            | Self::PaddedSha1
            | Self::Kernel(_)
            | Self::HostProgram { .. }
            | Self::HostProgramUnseen(_)
            | Self::ContainerViolation { .. }
            | Self::LogGap { .. }
            | Self::NothingMeasured(_)
            // It may never have been there.
            | Self::LogMissing(Log::Container(_))
            | Self::More(_) => Weight::Fault,
            Self::QuoteMalformed(_)
            | Self::KeyMalformed { .. }
            | Self::QuoteSignature(_)
            | Self::KeyUnsuitable(_)
            | Self::OtherKey
            | Self::Endorsement(_)
            | Self::NonceMismatch
            | Self::SelectionOther { .. }
            | Self::PcrValues
            | Self::LogMalformed { .. }
            | Self::AggregateMalformed { .. }
            | Self::LogEdited { .. }
            | Self::LogRemoved { .. }
            | Self::LogTruncated { .. }
            | Self::LogReordered { .. }
            | Self::LogDuplicated { .. }
            | Self::LogInterleaved { .. }
            | Self::LogConcatenated { .. }
            | Self::LogNotReplayed { .. }
            | Self::LogRewritten { .. }
            | Self::LogOfAnotherBoot { .. }
            | Self::LogOfAnotherContainer { .. }
            | Self::NotAnchored(_)
            | Self::LogMissing(_) => Weight::Tampering,
        }
    }

    /// Whether it tells that what was shown is not the truth, or not all of it.
    #[must_use]
    pub const fn is_tampering(&self) -> bool {
        matches!(self.weight(), Weight::Tampering)
    }

    /// Whether it tells that something is wrong.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        matches!(self.weight(), Weight::Fault | Weight::Tampering)
    }

    /// Whether it is only to be known.
    #[must_use]
    pub const fn is_note(&self) -> bool {
        matches!(self.weight(), Weight::Note)
    }
}
