//! Why a node can't answer.

use std::io;
use std::path::PathBuf;

use lacre_attest::expect::ExpectError;
use lacre_attest::tpm::{CollectError, TpmError};

use crate::shim_lists::ShimListsError;

/// Why there is no evidence, or no key.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the state.
    #[error("cannot {doing} {}", .path.display())]
    State {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The TPM.
    #[error("the TPM does not serve")]
    Tpm(#[from] TpmError),
    /// The attestation key is another TPM's, or the TPM was cleared.
    #[error(
        "the TPM does not know the attestation key any more: it was put aside, and the node must enrol again"
    )]
    KeyLost(#[source] TpmError),
    /// The lists.
    #[error("the evidence can't be gathered")]
    Collect(#[source] CollectError),
    /// The lists that shims keep.
    #[error("the lists that shims keep can't be read")]
    Shims(#[source] Box<ShimListsError>),
    /// The endorsement key's certificates.
    #[error("the certificates of the TPM's maker can't be used")]
    Chain(#[source] ExpectError),
}

impl NodeError {
    /// Its name, for the server (`DeclineRequest.reason`).
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Tpm(error) | Self::KeyLost(error) | Self::Collect(CollectError::Tpm(error)) => {
                match error {
                    TpmError::TimedOut { .. } | TpmError::Busy { .. } => "TPM_SLOW",
                    TpmError::Tcti(_)
                    | TpmError::Thread(_)
                    | TpmError::Absent { .. }
                    | TpmError::Open { .. }
                    | TpmError::Gone { .. }
                    | TpmError::Ended { .. } => "TPM_GONE",
                    _ => "TPM_REFUSED",
                }
            }
            Self::State { .. } | Self::Collect(_) | Self::Shims(_) | Self::Chain(_) => {
                "LISTS_UNREADABLE"
            }
        }
    }
}
