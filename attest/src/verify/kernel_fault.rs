//! In what a node's kernel may differ from the one that is expected.

use lacre_types::Digest;

/// How a kernel differs from the policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelFault {
    /// `boot_aggregate` is none of those allowed.
    #[error("boot_aggregate {0} is not allowed")]
    BootAggregate(Digest),
    /// A PCR is none of those allowed.
    #[error("PCR {index} is {value}")]
    Pcr {
        /// Which.
        index: u32,
        /// What it holds.
        value: Digest,
    },
    /// The version that it measured of itself is none of those allowed.
    #[error("its version is {0}")]
    Version(String),
    /// It never measured its version (`measure func=CRITICAL_DATA label=kernel_info`).
    #[error("it did not measure its version")]
    NoVersion,
    /// The boot log lacks an event, or has it where no PCR that was quoted vouches for it.
    #[error("the boot log has no event {0} in a PCR of 0 to 9 that agrees with it")]
    BootEvent(Digest),
    /// There is no container-IMA.
    #[error("it keeps no containers' lists")]
    NoContainerIma,
}
