use std::time::Duration;

use ttrpc::context::{Context, with_duration};

use crate::ConnectError;

/// How long a call may take. The server answers when what it was told is on its disk.
pub const CALL: Duration = Duration::from_secs(30);

/// How long making a connection may take.
pub const CONNECT: Duration = Duration::from_secs(10);

/// Why the policy server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection.
    #[error("reaching the policy server")]
    Connect(#[source] ConnectError),
    /// A call failed.
    #[error("asking the policy server to {doing}")]
    Call {
        /// What was asked for.
        doing: &'static str,
        /// What went wrong.
        #[source]
        source: ttrpc::Error,
    },
}

impl CallError {
    /// The error of a call that asked for that.
    pub const fn call(doing: &'static str) -> impl FnOnce(ttrpc::Error) -> Self {
        move |source| Self::Call { doing, source }
    }

    /// Whether the server answered, and said no: the connection stands.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Call { source: ttrpc::Error::RpcStatus(_), .. })
    }
}

/// What limits a call.
#[must_use]
pub fn within() -> Context {
    with_duration(CALL)
}
