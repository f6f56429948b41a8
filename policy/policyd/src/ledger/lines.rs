//! The lines of the ledger, and what they say besides records.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::SystemTime;

use lacre_report::rfc3339;
use serde::{Deserialize, Serialize};

use super::table::{Batch, LAST, StreamId, Table};

/// The version of the ledger's lines.
const VERSION: u32 = 1;

/// What tells the lines apart; the record itself is not looked at.
#[derive(Deserialize)]
struct Line<'a> {
    /// The first line of a segment.
    log: Option<u32>,
    /// How many `known` lines follow it.
    streams: Option<u64>,
    /// A stream that was known when the segment began.
    #[serde(borrow)]
    known: Option<Cow<'a, str>>,
    last: Option<u64>,
    closed: Option<bool>,
    /// A record, `seq`; or numbers that nobody has, `from` and `to`; or the end, `over`.
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    seq: Option<u64>,
    to: Option<u64>,
    over: Option<bool>,
    #[serde(borrow)]
    owner: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
struct Head<'a> {
    stream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<bool>,
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(rename = "nodeTrust", skip_serializing_if = "Option::is_none")]
    trust: Option<&'static str>,
    received: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

fn head(stream: StreamId, owner: &str) -> Head<'_> {
    Head {
        stream: stream.to_string(),
        seq: None,
        from: None,
        to: None,
        over: None,
        owner,
        node: None,
        trust: None,
        received: rfc3339(SystemTime::now()),
        unreadable: None,
    }
}

/// Who reports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From<'a> {
    /// The node as it calls itself.
    pub(crate) node: &'a str,
    /// What is thought of it, where nodes are attested.
    pub(crate) trust: Option<&'static str>,
}

/// Whether a record can stand in a line as it came: what a node encodes is printable ASCII.
pub(crate) fn is_plain(record: &[u8]) -> bool {
    record.iter().all(|byte| (0x20..0x7f).contains(byte))
}

/// The line of a record that can be read; the record stands in it byte for byte.
pub(crate) fn record(batch: &Batch, number: u64, from: From<'_>, record: &[u8]) -> Vec<u8> {
    let head = Head {
        seq: Some(number),
        node: Some(from.node),
        trust: from.trust,
        ..head(batch.stream, &batch.owner)
    };
    let mut line = serde_json::to_vec(&head).unwrap_or_default();
    line.pop();
    line.extend_from_slice(b",\"record\":");
    line.extend_from_slice(record);
    line.extend_from_slice(b"}\n");
    line
}

/// The line of a record that cannot be read: its bytes, escaped.
pub(crate) fn unreadable(batch: &Batch, number: u64, from: From<'_>, record: &[u8]) -> Vec<u8> {
    let head = Head {
        seq: Some(number),
        node: Some(from.node),
        trust: from.trust,
        unreadable: Some(lacre_types::escape(record)),
        ..head(batch.stream, &batch.owner)
    };
    let mut line = serde_json::to_vec(&head).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Numbers that nobody has any more.
pub(crate) fn missing(bytes: &mut Vec<u8>, batch: &Batch, from: u64, to: u64) {
    let head = Head { from: Some(from), to: Some(to), ..head(batch.stream, &batch.owner) };
    let _ = serde_json::to_writer(&mut *bytes, &head);
    bytes.push(b'\n');
}

/// A stream that is over.
pub(crate) fn closed(bytes: &mut Vec<u8>, stream: StreamId, owner: &str) {
    let head = Head { over: Some(true), ..head(stream, owner) };
    let _ = serde_json::to_writer(&mut *bytes, &head);
    bytes.push(b'\n');
}

/// How a segment begins.
pub(crate) fn begin(table: &Table) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (time, count) = (rfc3339(SystemTime::now()), table.len());
    let _ = writeln!(bytes, r#"{{"log":{VERSION},"streams":{count},"began":"{time}"}}"#);
    for (stream, owner, last, closed) in table.all() {
        let owner = serde_json::Value::from(owner);
        let _ = writeln!(
            bytes,
            r#"{{"known":"{stream}","owner":{owner},"last":{last},"closed":{closed}}}"#
        );
    }
    bytes
}

/// What a segment says.
#[derive(Debug)]
pub struct Read {
    /// The streams, as they are after its last line.
    pub table: Table,
    /// The bytes of its whole lines. What is behind them was never acknowledged.
    pub valid: usize,
    /// Lines in the midst that say nothing; they stay as they are.
    pub broken: Vec<usize>,
    /// Whether it begins as a segment does, with all the streams that it says it has.
    pub whole: bool,
}

/// Reads a segment.
#[must_use]
pub fn read(segment: &[u8]) -> Read {
    let valid = segment.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut read = Read { table: Table::default(), valid, broken: Vec::new(), whole: false };
    let (mut promised, mut known) = (None, 0);
    for (at, line) in segment[..valid].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = serde_json::from_slice::<Line<'_>>(line).ok();
        match line.as_ref().and_then(|line| apply(line, &mut read.table)) {
            Some(Said::Begin(streams)) if at == 0 => promised = Some(streams),
            Some(Said::Known) => known += 1,
            Some(Said::Else) => {}
            Some(Said::Begin(_)) | None => read.broken.push(at + 1),
        }
    }
    read.whole = promised.is_some_and(|streams| streams <= known);
    read
}

enum Said {
    Begin(u64),
    Known,
    Else,
}

fn apply(line: &Line<'_>, table: &mut Table) -> Option<Said> {
    if let Some(version) = line.log {
        return (version == VERSION).then_some(Said::Begin(line.streams?));
    }
    let owner = line.owner.as_deref()?;
    if let Some(known) = &line.known {
        let last = line.last.filter(|last| *last <= LAST)?;
        table.known(known.parse().ok()?, owner, last, line.closed?);
        return Some(Said::Known);
    }
    let stream = line.stream.as_deref()?.parse().ok()?;
    if line.seq.max(line.to).is_some_and(|number| number > LAST) {
        return None;
    }
    match (line.seq, line.to, line.over) {
        (Some(number), None, None) | (None, Some(number), None) => {
            table.known(stream, owner, number, false);
        }
        (None, None, Some(true)) => table.known(stream, owner, 0, true),
        _ => return None,
    }
    Some(Said::Else)
}
