//! Why a session with the server ended.

use lacre_proto::CallError;

use crate::spool::SpoolError;

/// Why a connection to the policy server ended, or never was.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none, or a call failed.
    #[error(transparent)]
    Server(#[from] CallError),
    /// It acknowledges what it was never sent, or refuses what it asks for.
    #[error("the policy server acknowledges {acknowledged}, and {sent} was sent")]
    Protocol {
        /// The number that it acknowledges.
        acknowledged: u64,
        /// The last number that it was sent.
        sent: u64,
    },
    /// The spool cannot be read.
    #[error("reading the spool")]
    Spool(#[from] SpoolError),
}

impl SessionError {
    /// Whether the server answered, and said no: the connection stands.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Server(error) if error.is_refusal())
    }
}
