//! The wire between nodes and the policy server, and how it is connected.
//!
//! `lacre/policy/v1/policy.proto` says what is said and what it promises; [`policy`] and
//! [`service`] are generated from it, [`attest`] from `lacre/attest/v1/attest.proto`. The rest is the way there: [`Address`], the TLS of
//! both sides, [`Connector`] for a node, [`serve`] for the server. It knows who is at the
//! other end, and nothing of policies.

mod address;
mod backoff;
mod call;
mod connect;
mod gate;
mod listen;
mod peer;
mod stream;
mod tls;

pub use address::{Address, ParseAddressError};
pub use backoff::Backoff;
pub use call::{CALL, CONNECT, CallError, CallFailure, within};
pub use connect::{ConnectError, Connector};
pub use listen::{BindError, Bound, Host, Limits, Notice, serve};
pub use peer::{Peer, PeerError};
pub use tls::{ServerTls, TlsError, TlsFiles};

/// The messages.
pub mod policy {
    pub use crate::generated::policy::*;
}

/// The service: the trait that a server implements, and the client.
pub mod service {
    pub use crate::generated::policy_ttrpc::*;
}

/// What a node's attestation agent and the server say: messages, trait, client.
pub mod attest {
    pub use crate::generated::attest::*;
    pub use crate::generated::attest_ttrpc::*;
}

/// The most bytes of one part of evidence: a quarter of what ttrpc carries.
pub const MAX_PART: usize = 1024 * 1024;

/// The most bytes of one record, without its line feed. The longest path has 4,096 bytes;
/// escaped, and escaped again as JSON, each can become six, and a record shows it twice:
/// 48 KiB, and 6 KiB more in base64. The rest is names, each cut at 1 KiB.
pub const MAX_RECORD: usize = 128 * 1024;

/// The most records of one batch.
pub const MAX_BATCH: usize = 512;

/// The most bytes of the records of one batch: a quarter of what ttrpc carries.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// How long `Watch` holds its answer back.
pub const WATCH: std::time::Duration = std::time::Duration::from_secs(20);

#[allow(missing_docs, warnings, clippy::all, reason = "generated")]
mod generated {
    pub(crate) mod policy {
        include!(concat!(env!("OUT_DIR"), "/policy.rs"));
    }
    pub(crate) mod attest {
        include!(concat!(env!("OUT_DIR"), "/attest.rs"));
    }
    pub(crate) mod attest_ttrpc {
        include!(concat!(env!("OUT_DIR"), "/attest_ttrpc.rs"));
    }
    pub(crate) mod policy_ttrpc {
        include!(concat!(env!("OUT_DIR"), "/policy_ttrpc.rs"));
    }
}

#[doc(hidden)]
pub mod fuzz {
    //! Entries for fuzzing: no input may panic.

    /// Addresses.
    pub fn fuzz_address(data: &[u8]) {
        if let Ok(text) = std::str::from_utf8(data)
            && let Ok(address) = text.parse::<crate::Address>()
        {
            assert_eq!(address.to_string().parse::<crate::Address>().as_ref(), Ok(&address));
        }
    }

    /// Requests as the server decodes them.
    pub fn fuzz_requests(data: &[u8]) {
        message::<crate::policy::RegisterRequest>(data);
        message::<crate::policy::RegisterResponse>(data);
        message::<crate::policy::ReportRequest>(data);
        message::<crate::policy::ReportResponse>(data);
        message::<crate::attest::SubmitRequest>(data);
        message::<crate::attest::ListResponse>(data);
    }

    fn message<M: protobuf::Message + PartialEq + std::fmt::Debug>(data: &[u8]) {
        if let Ok(message) = M::parse_from_bytes(data)
            && let Ok(bytes) = message.write_to_bytes()
        {
            assert_eq!(M::parse_from_bytes(&bytes).as_ref().ok(), Some(&message));
        }
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..300)) {
                super::fuzz_address(&data);
                super::fuzz_requests(&data);
            }

            #[test]
            fn no_address_panics(text in "(tls|unix|tcp|)(://|:|)[a-z0-9:/\\[\\]]{0,40}") {
                super::fuzz_address(text.as_bytes());
            }
        }
    }
}
