//! Records and reports: written once, delivered once, in order.
//!
//! A [`Record`] is one JSON line (docs/records.md). A [`Reporter`] folds those that are
//! equal, numbers what is left, appends it to the node's record file, and, when there is a
//! policy server, puts it into the [`Spool`] and delivers it from there, however often the
//! server, the network or this process dies in between. It decides nothing: what the server
//! answers goes to whoever implements [`Events`].
//!
//! Data flows one way: `intake` (memory; who hands something in never waits) to `disk` (the
//! one thread that touches files) to `session` (the one that talks to the server).

mod ascii_json;
mod config;
mod container;
mod counters;
mod delivery;
mod disk;
mod entry;
mod events;
mod fair_shares;
mod file_name;
mod files;
mod folding;
mod gap;
mod intake;
mod log_note;
mod notification;
mod orphan_delivery;
mod outcome;
mod policies;
mod queued_line;
mod record;
mod record_file;
mod record_search;
mod registration;
mod release;
mod reporter;
mod reporter_state;
mod rotating_file;
mod server_link;
mod session;
mod session_error;
mod spool;
mod stream_place;
mod thread_end;
mod unwritten_lines;
mod update;

pub use config::{Config, Rotation};
pub use container::Container;
pub use counters::Counters;
pub use entry::{Entry, EntryError};
pub use events::Events;
pub use folding::{Number, Told};
pub use gap::{Gap, GapReason};
pub use lacre_proto::{Address, ConnectError, Connector, TlsFiles};
pub use lacre_types::rfc3339;
pub use log_note::Note;
pub use notification::{Answer, Held, Notification};
pub use orphan_delivery::deliver_orphans;
pub use outcome::{Outcome, OutcomeResult};
pub use policies::StoredPolicy;
pub use record::{Became, Origin, Record, Verdict};
pub use record_search::recorded;
pub use release::Release;
pub use reporter::Reporter;
pub use reporter_state::StartError;
pub use server_link::Link;
pub use session::Delivered;
pub use session_error::SessionError;
pub use spool::reader::SpoolReader;
pub use spool::{Spool, SpoolError};
pub use stream_place::Place;
pub use update::Update;

#[doc(hidden)]
pub mod fuzz {
    //! Entries for fuzzing: no input may panic.

    /// A spool segment as a crash may have left it, and the same bytes as frames' payloads.
    pub fn fuzz_segment(data: &[u8]) {
        let scan = crate::spool::frame::scan(data);
        assert!(scan.valid <= data.len());
        let again = crate::spool::frame::scan(&data[..scan.valid]);
        assert_eq!((again.valid, again.last), (scan.valid, scan.last));

        let mut segment = crate::spool::frame::MAGIC.to_vec();
        let mut last = None;
        for (payload, number) in data.split(|byte| *byte == 0).zip(1..) {
            segment.extend(crate::spool::frame::encode(number, payload).into_iter().flatten());
            last = Some(number);
        }
        let whole = segment.len();
        segment.extend(data.iter().take(15));
        let scan = crate::spool::frame::scan(&segment);
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
