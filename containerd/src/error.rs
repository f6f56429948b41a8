//! How containerd fails to answer, and whether asking again may help.

use std::path::PathBuf;
use std::time::Duration;

/// Why containerd did not do, or did not tell, what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("{call} {on}: containerd can't be reached at {address}; is it running, and is that its socket?", address = .address.display())]
    Unreachable {
        /// The call, as `service/method`.
        call: &'static str,
        /// What it was about.
        on: String,
        /// The socket.
        address: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Connected, and no answer within the deadline.
    #[error("{call} {on}: containerd at {address} did not answer in {after:?}; it hangs or is overloaded: look at its log, then restart it", address = .address.display())]
    Deadline {
        /// The call, as `service/method`.
        call: &'static str,
        /// What it was about.
        on: String,
        /// The socket.
        address: PathBuf,
        /// The deadline.
        after: Duration,
    },
    /// There is no such thing.
    #[error("{call} {on}: containerd at {address} has no such thing in that namespace: {message}", address = .address.display())]
    NotFound {
        /// The call, as `service/method`.
        call: &'static str,
        /// What it was about.
        on: String,
        /// The socket.
        address: PathBuf,
        /// containerd's own words.
        message: String,
    },
    /// containerd refused, or the connection broke.
    #[error("{call} {on}: containerd at {address} answered {code}: {message}", address = .address.display())]
    Refused {
        /// The call, as `service/method`.
        call: &'static str,
        /// What it was about.
        on: String,
        /// The socket.
        address: PathBuf,
        /// The gRPC status.
        code: tonic::Code,
        /// containerd's own words.
        message: String,
    },
    /// The answer lacks something, or is not what it must be.
    #[error("{call} {on}: the answer is no good: {problem}")]
    Answer {
        /// The call, as `service/method`.
        call: &'static str,
        /// What it was about.
        on: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// Whether containerd said that there is no such thing. To who deletes, that is success.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether containerd said that it is there already.
    #[must_use]
    pub const fn already_exists(&self) -> bool {
        matches!(self, Self::Refused { code: tonic::Code::AlreadyExists, .. })
    }

    /// Whether asking again later may help: containerd is gone, hangs, or is busy.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Deadline { .. }
                | Self::Refused { code: tonic::Code::Unavailable | tonic::Code::Aborted, .. }
        )
    }
}
