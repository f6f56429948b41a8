//! What makes two records of a container equal.

use lacre_types::{Action, ViolationKind};

use crate::record::{Became, Record};

/// What was used, how, what was refused of it, and by which rule. Who used it, who saw it and
/// when are of the first and the last.
#[derive(Hash)]
pub(super) struct Equal<'a>(
    (ViolationKind, lacre_types::Event, lacre_types::Mode, bool),
    (&'a Option<String>, &'a Option<String>, &'a str),
    (Option<u64>, &'a Option<String>, Option<String>),
    (Action, &'a Option<String>),
);

impl<'a> Equal<'a> {
    pub(super) fn of(record: &'a Record) -> Self {
        // A file that grows while it is read again and again is one file.
        let size = record.size.filter(|_| record.notificate != ViolationKind::Report);
        Self(
            (record.notificate, record.event, record.mode, record.outcome == Became::Denied),
            (&record.path, &record.path_bytes, &record.line),
            (size, &record.unread, record.expected.map(|digest| digest.to_string())),
            (record.action, &record.rule),
        )
    }
}
