//! Records and reports: written once, delivered once, in order.
//!
//! A [`Record`] is one JSON line (docs/records.md). A [`Reporter`] numbers it, appends it
//! to the node's record file ([`RecordWriter`]), and, when there is a policy server, puts
//! it into the [`Spool`] and delivers it from there, however often the server, the
//! network or this process dies in between. It decides nothing: what the server answers
//! goes to whoever implements [`Events`].

mod adopt;
mod counters;
mod deliver;
mod entry;
mod frame;
mod json;
mod message;
mod name;
mod note;
mod policies;
mod queue;
mod reader;
mod record;
mod recorded;
mod reporter;
mod session;
mod spool;
mod time;
mod writer;

pub use adopt::{Delivered, deliver_orphans};
pub use counters::Counters;
pub use entry::{Entry, EntryError, Gap, GapReason, Outcome, OutcomeResult, Place};
pub use lacre_proto::{Address, ConnectError, Connector, TlsFiles};
pub use message::{Answer, Notification};
pub use note::Note;
pub use policies::StoredPolicy;
pub use reader::SpoolReader;
pub use record::{Became, Origin, Record, Verdict};
pub use recorded::recorded;
pub use reporter::{Config, Container, Events, Reporter, StartError};
pub use session::SessionError;
pub use spool::{Spool, SpoolError};
pub use time::rfc3339;
pub use writer::{RecordWriter, Rotation};

#[doc(hidden)]
pub mod fuzz {
    //! Entries for fuzzing: no input may panic.

    /// A spool segment as a crash may have left it, and the same bytes as frames' payloads.
    pub fn fuzz_segment(data: &[u8]) {
        let scan = crate::frame::scan(data);
        assert!(scan.valid <= data.len());
        let again = crate::frame::scan(&data[..scan.valid]);
        assert_eq!((again.valid, again.last), (scan.valid, scan.last));

        let mut segment = crate::frame::MAGIC.to_vec();
        let mut last = None;
        for (payload, number) in data.split(|byte| *byte == 0).zip(1..) {
            segment.extend(crate::frame::encode(number, payload).into_iter().flatten());
            last = Some(number);
        }
        let whole = segment.len();
        segment.extend(data.iter().take(15));
        let scan = crate::frame::scan(&segment);
        assert_eq!((scan.valid, scan.last), (whole, last));
    }

    /// A line of a record file.
    pub fn fuzz_entry(data: &[u8]) {
        if let Ok(entry) = crate::Entry::parse(data) {
            let line = entry.encode();
            assert_eq!(crate::Entry::parse(&line).as_ref().ok(), Some(&entry));
        }
        let _ = serde_json::from_slice::<crate::Notification>(data);
        let _ = serde_json::from_slice::<crate::Answer>(data);
    }

    /// A stored policy.
    pub fn fuzz_stored_policy(data: &[u8]) {
        if let Some(policy) = crate::StoredPolicy::parse(data) {
            assert_eq!([policy.version.as_bytes(), b"\n", &policy.effective].concat(), data);
        }
    }

    #[cfg(test)]
    mod tests {
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..300)) {
                super::fuzz_segment(&data);
                super::fuzz_entry(&data);
                super::fuzz_stored_policy(&data);
            }

            #[test]
            fn no_gap_record_panics(lost in any::<Option<u64>>(), node in any::<String>(), cut in 0_usize..200) {
                let gap = crate::Gap::new(crate::GapReason::Torn, lost, &node);
                let line = crate::Entry::from(gap).encode();
                super::fuzz_entry(&line);
                super::fuzz_entry(&line[..cut.min(line.len())]);
            }
        }
    }
}
