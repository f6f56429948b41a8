//! Everything that a verification may find, with what it was found of.

use lacre_types::{Digest, ViolationKind, escape};

use super::Log;
use super::kernel_fault::KernelFault;
use crate::container::Keeper;
use crate::ima::LogError;
use crate::tpm2::{EkError, Malformed, Selection, SignatureError, Unsuitable};

/// What is wrong, or must be known. Lines count from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The quote is no quote that a TPM made.
    #[error("the quote can't be read: {0}")]
    QuoteMalformed(Malformed),
    /// A key can't be read.
    #[error("the {which} key can't be read: {why}")]
    KeyMalformed {
        /// Which key.
        which: &'static str,
        /// Why.
        why: Malformed,
    },
    /// The quote's signature does not hold.
    #[error("the quote is not signed by its key: {0}")]
    QuoteSignature(SignatureError),
    /// The key would sign forged quotes.
    #[error("the attestation key can't vouch for a TPM: {0}")]
    KeyUnsuitable(Unsuitable),
    /// Another key signed than the enrolled one: another TPM, or made anew.
    #[error("another attestation key signed than the one that is enrolled")]
    OtherKey,
    /// The endorsement key is not known to be a TPM's.
    #[error("the endorsement key is not known to be of a real TPM: {0}")]
    Endorsement(EkError),
    /// The quote answers another question.
    #[error("the quote is over another nonce: it was made for somebody else, or before")]
    NonceMismatch,
    /// The nonce was handed out too long ago.
    #[error("the nonce was handed out {age} s ago, and is good for {limit} s")]
    NonceStale {
        /// How long ago.
        age: u64,
        /// How long it is good.
        limit: u64,
    },
    /// The quote leaves PCRs out.
    #[error("the quote is over {got}, and should be over {expected}")]
    SelectionOther {
        /// What it should be over.
        expected: Selection,
        /// What it is over.
        got: Selection,
    },
    /// The values that the node tells are not those that were quoted.
    #[error("the PCR values are not those that the TPM quoted")]
    PcrValues,
    /// The TPM's counters say that the node booted since it was last seen.
    #[error("since it was last seen the node had {}, {}", some((*.resets).into(), "reboot"), some((*.restarts).into(), "resume"))]
    Rebooted {
        /// How many resets there were.
        resets: u32,
        /// How many resumes.
        restarts: u32,
    },
    /// The clock or a counter is lower than it was.
    #[error("the TPM's {0} is lower than when it was last seen: an older quote, or another TPM")]
    ClockWentBack(&'static str),
    /// A list is not written as lists are.
    #[error("{log} can't be read: {why}: {}", .why.source)]
    LogMalformed {
        /// Which list.
        log: Log,
        /// Where and why.
        why: LogError,
    },
    /// `aggregate` is not written as it should be.
    #[error("{log} can't be read: {why}")]
    AggregateMalformed {
        /// Which.
        log: Log,
        /// Where and why.
        why: crate::container::AggregateError,
    },
    /// A part of a list does not follow what is known of it.
    #[error("{log} begins at line {first}, but {known} lines of it are known")]
    LogGap {
        /// Which list.
        log: Log,
        /// Where it begins.
        first: u64,
        /// How many are known.
        known: u64,
    },
    /// A line was changed.
    #[error("line {line} of {log} was edited")]
    LogEdited {
        /// Which list.
        log: Log,
        /// Which line.
        line: u64,
    },
    /// A line was taken out.
    #[error("a line was removed at line {line} of {log}")]
    LogRemoved {
        /// Which list.
        log: Log,
        /// Where.
        line: u64,
    },
    /// The end is missing.
    #[error("{log} was truncated after {}: its end should have {} more", some(*.lines, "line"), .missing)]
    LogTruncated {
        /// Which list.
        log: Log,
        /// How many it has.
        lines: u64,
        /// How many more there are.
        missing: u64,
    },
    /// Lines were swapped.
    #[error("{log} was reordered at line {line}")]
    LogReordered {
        /// Which list.
        log: Log,
        /// Where.
        line: u64,
    },
    /// A line was repeated.
    #[error("line {line} of {log} is a duplicate")]
    LogDuplicated {
        /// Which list.
        log: Log,
        /// Which line.
        line: u64,
    },
    /// Lines of another list stand among the own ones.
    #[error("{} from line {line} of {log} on: not its own", some(*.count, "line"))]
    LogInterleaved {
        /// Which list.
        log: Log,
        /// The first of them.
        line: u64,
        /// How many.
        count: u64,
    },
    /// Two lists were put together.
    #[error("{log} is two lists in one: the one of this boot begins at line {line}")]
    LogConcatenated {
        /// Which list.
        log: Log,
        /// Where the true one begins.
        line: u64,
    },
    /// The PCR differs, and how can't be told.
    #[error("{log}, of {}, does not replay to its PCR: it was altered or cut", some(*.lines, "line"))]
    LogNotReplayed {
        /// Which list.
        log: Log,
        /// How many lines it has.
        lines: u64,
    },
    /// What was already known of a list is not in it any more.
    #[error("{log} is not the one whose first {known} lines were seen before")]
    LogRewritten {
        /// Which list.
        log: Log,
        /// How many lines were known.
        known: u64,
    },
    /// The list is of an earlier boot.
    #[error("{log} is of another boot than the quote")]
    LogOfAnotherBoot {
        /// Which list.
        log: Log,
    },
    /// The list is another container's, or of another creation of this one.
    #[error("{log} is another container's{}", .whose.as_ref().map(|id| format!(": {}", escape(id.as_bytes()))).unwrap_or_default())]
    LogOfAnotherContainer {
        /// Which list.
        log: Log,
        /// Whose it is, where that can be told.
        whose: Option<String>,
    },
    /// Nothing in `aggregate` is of the container.
    #[error("nothing is anchored for {0}: another secret, another creation, or never measured")]
    NotAnchored(Log),
    /// The list ran out of room.
    #[error("{0} overflowed: lines are missing from there on")]
    LogOverflowed(Log),
    /// Who kept the list is gone, and did not end it.
    #[error("{0} breaks off: who kept it died, or could not write, and lines may be missing")]
    LogUnfinished(Log),
    /// The list is empty.
    #[error("{0} has no measurements: nothing was measured")]
    NothingMeasured(Log),
    /// The host has no list, and could have none: nothing was extended.
    #[error(
        "the evidence brings no list of the host, and PCR {0} was never extended: its kernel has no IMA"
    )]
    NoHostList(u32),
    /// There is no such list.
    #[error("the evidence does not bring {0}")]
    LogMissing(Log),
    /// The list goes on beyond the quote.
    #[error("{} of {log} newer than the quote, and not counted", some(*.lines, "line"))]
    Unanchored {
        /// Which list.
        log: Log,
        /// How many.
        lines: u64,
    },
    /// The kernel fills its banks with SHA-1.
    #[error("the kernel, older than 5.8, pads SHA-1 digests: the list is no safer than SHA-1")]
    PaddedSha1,
    /// Something extended the PCR before the list began.
    #[error(
        "the PCR of {0} was extended before its first line: by a kernel before a kexec, or the boot loader"
    )]
    NotFromZero(Log),
    /// A list is there, and its PCR was never extended.
    #[error("PCR {index} was never extended, though {log} has {}: IMA began without a TPM", some(*.lines, "line"))]
    NeverExtended {
        /// Which list.
        log: Log,
        /// Its PCR.
        index: u32,
        /// How many lines it has.
        lines: u64,
    },
    /// The host's list has lines of a PCR that does not vouch for them.
    #[error("the host's list has lines of PCR {0}, which nothing vouches for")]
    LinesElsewhere(u32),
    /// Lists are brought by who keeps none on that node.
    #[error(
        "lists kept by the {0} are brought, and none are expected: `anchors` says who keeps them"
    )]
    KeeperOther(Keeper),
    /// A list is anchored in another PCR than the one that is expected.
    #[error("{log} is anchored in PCR {got}, and should be in PCR {expected}")]
    AnchorOther {
        /// Which list.
        log: Log,
        /// Where it is anchored.
        got: u32,
        /// Where it should be.
        expected: u32,
    },
    /// Events that no list accounts for.
    #[error("{} of {log} of no list that was brought: of a container that was never shown", some(*.events, "event"))]
    EventsUnclaimed {
        /// Which `aggregate`.
        log: Log,
        /// How many.
        events: u64,
    },
    /// What an `aggregate` comes to is not what its PCR holds.
    #[error("PCR {index} holds what {log}, of {}, does not lead to: something else extended it, or lines are missing or altered", some(*.lines, "line"))]
    AggregateNotReplayed {
        /// Which `aggregate`.
        log: Log,
        /// Its PCR.
        index: u32,
        /// How many lines it has.
        lines: u64,
    },
    /// `boot_aggregate` does not fit the PCRs of the boot.
    #[error("boot_aggregate does not fit {}", boot_pcrs(.later))]
    BootAggregate {
        /// The PCRs that were extended since: with what the boot log says of them, it fits.
        later: Vec<u32>,
    },
    /// The firmware's log does not fit the PCRs.
    #[error("the boot log can't be read: {0}")]
    BootLogMalformed(crate::boot::BootLogError),
    /// The firmware's log does not fit a PCR.
    #[error("the boot log does not replay to PCR {0}")]
    BootLogNotReplayed(u32),
    /// The kernel, or what booted it, is not as the policy says.
    #[error("the kernel is not as the policy says: {0}")]
    Kernel(KernelFault),
    /// A program of the host is not what the host baseline has.
    #[error("{path} on the host: {kind}, {}", .digest.map_or_else(|| "not read".to_owned(), |d| d.to_string()))]
    HostProgram {
        /// Its path, escaped.
        path: String,
        /// The kind of violation.
        kind: ViolationKind,
        /// What was measured.
        digest: Option<Digest>,
        /// The line that says so.
        line: u64,
    },
    /// A program that should have run was never measured.
    #[error("{0} was never measured on the host")]
    HostProgramUnseen(String),
    /// A container ran what its baseline does not have.
    #[error("{} ran {path}: {kind}", escape(.container.as_bytes()))]
    ContainerViolation {
        /// The container.
        container: String,
        /// The path, escaped.
        path: String,
        /// The kind of violation.
        kind: ViolationKind,
        /// What was measured.
        digest: Option<Digest>,
        /// The line that says so.
        line: u64,
    },
    /// There is more of the kind than is told.
    #[error("and {0} more findings of that kind")]
    More(u64),
}

/// Which of the boot's PCRs are another than they were.
fn boot_pcrs(later: &[u32]) -> String {
    match later {
        [] => "PCRs 0 to 9: they were extended since, or it is of another boot".to_owned(),
        [one] => format!("PCR {one}, which was extended since the kernel began"),
        [first, .., last] => {
            format!("PCRs {first} and {last}, which were extended since the kernel began")
        }
    }
}

/// A number of things, in words.
fn some(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
