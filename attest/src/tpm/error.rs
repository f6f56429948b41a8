//! How a TPM fails: absent, slow, gone, or refusing.

use std::time::Duration;

/// Why a TPM did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The TCTI is not one of those that lacre speaks.
    #[error("`{0}` names no TPM; use device:/dev/tpmrm0 or swtpm:host=HOST,port=PORT")]
    Tcti(String),
    /// No thread could be started.
    #[error("cannot start the thread that talks to the TPM")]
    Thread(#[source] std::io::Error),
    /// There is none to be reached.
    #[error("there is no TPM at {tcti} that this user can use")]
    Absent {
        /// Where it should be.
        tcti: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It can't be reached.
    #[error("cannot open the TPM at {tcti}; is it there, and is this user allowed to use it?")]
    Open {
        /// Where it should be.
        tcti: String,
        /// What libtss2 says.
        #[source]
        source: tss_esapi::Error,
    },
    /// It did not answer in time. It may still do what was asked.
    #[error("the TPM did not {doing} within {after:?}; it may still be at it")]
    TimedOut {
        /// What was asked.
        doing: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// It is still at something else that timed out.
    #[error("cannot {doing}: the TPM still owes an answer that was waited for too long")]
    Busy {
        /// What was asked.
        doing: &'static str,
    },
    /// The connection broke.
    #[error("cannot {doing}: the connection to the TPM broke; open it again")]
    Gone {
        /// What was asked.
        doing: &'static str,
        /// What libtss2 says.
        #[source]
        source: tss_esapi::Error,
    },
    /// The thread that talks to it ended.
    #[error("cannot {doing}: the thread that talks to the TPM has ended; open it again")]
    Ended {
        /// What was asked.
        doing: &'static str,
    },
    /// It answered that it will not.
    #[error("the TPM will not {doing}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: tss_esapi::Error,
    },
    /// No attestation key is loaded.
    #[error("cannot {doing}: no attestation key is loaded")]
    NoKey {
        /// What was asked.
        doing: &'static str,
    },
    /// The PCRs changed between each reading and the quote.
    #[error("the PCRs changed while they were quoted, {0} times in a row; try again")]
    Restless(u32),
    /// It answered with something else than was asked for.
    #[error("the TPM answered with another {0} than was asked for")]
    Answer(&'static str),
}

impl TpmError {
    /// Whether the TPM refused what it was given, such as another TPM's key. What it lacks
    /// for now, such as room, is none of that.
    #[must_use]
    pub const fn is_refusal_of_what_was_given(&self) -> bool {
        use tss_esapi::constants::response_code::Tss2ResponseCode;
        matches!(
            self,
            Self::Refused {
                source: tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatOne(_)),
                ..
            }
        )
    }

    /// What an error of libtss2 means: that the TPM refused, or that it is not there.
    pub(super) fn from_tss(doing: &'static str, source: tss_esapi::Error) -> Self {
        use tss_esapi::constants::response_code::Tss2ResponseCode;
        match source {
            // A TPM's own codes are all known to the crate; what is not came from the way to it.
            tss_esapi::Error::Tss2Error(code @ Tss2ResponseCode::FormatZero(_))
                if code.kind().is_none() =>
            {
                Self::Gone { doing, source }
            }
            source => Self::Refused { doing, source },
        }
    }
}
