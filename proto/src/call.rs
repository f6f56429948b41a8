//! The deadlines of calls, and how one fails.

use std::fmt;
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
        source: CallFailure,
    },
}

/// What a call failed of: the server's own words, where it answered.
#[derive(Debug)]
pub struct CallFailure(ttrpc::Error);

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // On one line, whatever the server says.
            ttrpc::Error::RpcStatus(status) => {
                status.message.chars().try_for_each(|char| match char.is_control() {
                    true => write!(f, "{}", char.escape_default()),
                    false => write!(f, "{char}"),
                })
            }
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for CallFailure {}

impl CallError {
    /// The error of a call that asked for that.
    pub const fn call(doing: &'static str) -> impl FnOnce(ttrpc::Error) -> Self {
        move |error| Self::Call { doing, source: CallFailure(error) }
    }

    /// Whether the server answered, and said no: the connection stands.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Call { source: CallFailure(ttrpc::Error::RpcStatus(_)), .. })
    }
}

/// What limits a call.
#[must_use]
pub fn within() -> Context {
    with_duration(CALL)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words_on_one_line() {
        let status =
            ttrpc::get_status(ttrpc::Code::UNIMPLEMENTED, "it attests no nodes\n\u{1b}[2J");
        let error = CallError::call("list its nodes")(ttrpc::Error::RpcStatus(status));
        assert!(error.is_refusal());
        let words = error.source().map(ToString::to_string);
        assert_eq!(words.as_deref(), Some("it attests no nodes\\n\\u{1b}[2J"));
    }
}
