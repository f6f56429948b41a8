//! What a reporter has its shim log.

use std::fmt;

use lacre_proto::Address;

use crate::counters::Counters;
use crate::session_error::SessionError;
use crate::spool::SpoolError;

/// What a reporter has to tell whoever keeps the log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note {
    /// The server is there.
    Connected(Address),
    /// The server cannot be reached, or the connection broke. Told once, until it changes.
    Disconnected(SessionError),
    /// The server does not take this container.
    Unregistered(String, SessionError),
    /// The policy that came could not be kept on disk. It holds in memory.
    NotStored(String, std::io::Error),
    /// A record is not in the spool. Told once, until one is again.
    NotSpooled(SpoolError),
    /// There is no spool yet. Told once, until there is.
    NoSpool(SpoolError),
    /// The record file refuses. Told once, until it takes lines again.
    NotWritten(std::path::PathBuf, std::io::Error),
    /// The record file refused to the last: lines were kept elsewhere, or, with an error, lost.
    Unwritten(u64, Option<std::io::Error>),
    /// What was done, and lost, from the start to the end.
    Ended(Counters),
    /// A dead shim's spool ended in half a record, which has become a gap record.
    Mended {
        /// The spool.
        stream: String,
        /// The number of the gap record.
        number: u64,
    },
    /// A dead shim's spool was delivered and removed.
    Adopted {
        /// The spool.
        stream: String,
        /// How many records were in it that the server had not.
        records: u64,
    },
    /// A spool cannot be delivered; it stays on disk.
    Stuck(String, SessionError),
    /// The server answered with an action that this version does not know.
    Unreadable {
        /// The record it answers.
        number: u64,
        /// The action.
        action: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(to) => write!(f, "connected to the policy server {to}"),
            Self::Disconnected(_) => {
                f.write_str("no policy server; the last policy holds, reports are kept on disk")
            }
            Self::Unregistered(container, _) => {
                write!(f, "the policy server does not take container {container}")
            }
            Self::NotStored(container, _) => {
                write!(f, "the policy of {container} is not kept on disk")
            }
            Self::NotSpooled(_) => f.write_str("reports are being lost; the spool says how many"),
            Self::NoSpool(_) => f.write_str(
                "reports can't be kept on disk yet; they wait in memory, and it is tried again",
            ),
            Self::NotWritten(path, _) => write!(
                f,
                "records are not written to {}; they are kept, and it is tried again; see to \
                 the disk, or let `records:` name another file",
                path.display()
            ),
            Self::Unwritten(lines, None) => write!(
                f,
                "{lines} lines that the record file did not take are kept, for the node's next \
                 shim to write"
            ),
            Self::Unwritten(lines, Some(_)) => write!(
                f,
                "{lines} lines that the record file did not take could be kept nowhere, and are lost"
            ),
            Self::Ended(counters) => write!(f, "reporting ended: {counters}"),
            Self::Mended { stream, number } => {
                write!(f, "spool {stream} ended in half a record; {number} says so in its place")
            }
            Self::Adopted { stream, records } => {
                write!(f, "delivered {records} records of the dead spool {stream}")
            }
            Self::Stuck(stream, _) => write!(f, "spool {stream} cannot be delivered"),
            Self::Unreadable { number, action } => {
                write!(f, "the policy server answered record {number} with {action:?}")
            }
        }
    }
}

impl Note {
    /// What is beneath it, to be logged with its chain of causes.
    #[must_use]
    pub fn error(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disconnected(error) | Self::Unregistered(_, error) | Self::Stuck(_, error) => {
                Some(error)
            }
            Self::NotStored(_, error) | Self::NotWritten(_, error) => Some(error),
            Self::Unwritten(_, error) => error.as_ref().map(|error| error as _),
            Self::NotSpooled(error) | Self::NoSpool(error) => Some(error),
            _ => None,
        }
    }
}
