//! The policy server: one policy for a fleet, one log that loses nothing.
//!
//! A connection is a [`session`]; what it reports goes through the [`ledger`], whose
//! files are the only truth about what has arrived; the policy is [`policy::PolicyFile`],
//! read again whenever its file changes.

mod answers;
pub mod args;
pub mod attest;
pub mod clock;
pub mod connections;
pub mod ledger;
pub mod logging;
pub mod nodes;
pub mod orders;
pub mod policy;
mod registered;
pub mod reload;
pub mod reloaded_file;
mod rpc;
pub mod server;
pub mod session;
pub mod signals;
pub mod state_file;

#[doc(hidden)]
pub mod fuzz {
    //! Entries for fuzzing: no input may panic.

    /// A segment of the ledger as a crash may have left it.
    pub fn fuzz_ledger(data: &[u8]) {
        let read = crate::ledger::read(data);
        assert!(read.valid <= data.len());
        let again = crate::ledger::read(&data[..read.valid]);
        assert_eq!((again.valid, &again.broken), (read.valid, &read.broken));
        let streams = |read: &crate::ledger::Read| {
            let all = read
                .table
                .all()
                .map(|(id, owner, last, over)| (id.to_string(), owner.to_owned(), last, over));
            all.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(streams(&again), streams(&read));
    }

    /// What the server keeps of a node, and the file that says how nodes are attested.
    pub fn fuzz_attest(data: &[u8]) {
        use crate::attest::{config::Written, record::Record};
        if let Ok(record) = Record::parse(data) {
            let again = record.to_json().ok().and_then(|json| Record::parse(&json).ok());
            assert_eq!(again, Some(record));
        }
        let _ = Written::parse(data);
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn no_ledger_panics(
                data in proptest::collection::vec(any::<u8>(), 0..300),
                text in "(\\{\"(stream|known|closed|log)\":\"[0-9a-f]{0,3}\",\"(seq|to|last)\":[0-9]{0,22}\\}?\n){0,5}",
            ) {
                super::fuzz_ledger(&data);
                super::fuzz_attest(&data);
                super::fuzz_ledger(text.as_bytes());
            }
        }
    }
}
