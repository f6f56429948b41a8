//! One line of a file of records.

use std::borrow::Cow;

use serde::Deserialize;

/// What separates a server's words about a record from the record. A node's own line has no object
/// in it, and in a text a quotation mark is escaped.
const ENVELOPE: &[u8] = b",\"record\":{";

/// A record, of whichever kind; what it does not have is empty or none.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Line<'a> {
    /// None: a violation.
    #[serde(borrow)]
    pub(crate) record: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) stream: Option<Cow<'a, str>>,
    pub(crate) seq: Option<u64>,
    pub(crate) of: Option<u64>,
    #[serde(rename = "containerID", borrow)]
    pub(crate) container: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) container_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) pod: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) pod_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) pod_namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) image_name: Cow<'a, str>,
    #[serde(rename = "imageID", borrow)]
    pub(crate) image_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) node: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) notificate: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) source: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) event: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) path: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) digest: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) layer: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) unread: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) mode: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) action: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) rule: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) last: Cow<'a, str>,
    pub(crate) count: Option<u64>,
    /// Of an outcome or a release.
    #[serde(borrow)]
    pub(crate) result: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) detail: Cow<'a, str>,
    /// Of a gap.
    #[serde(borrow)]
    pub(crate) reason: Cow<'a, str>,
    pub(crate) lost: Option<u64>,
    /// Of a release.
    #[serde(borrow)]
    pub(crate) undone: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) again: Vec<Cow<'a, str>>,
    /// Of a violation, who did it; of a release, who asked.
    pub(crate) uid: Option<u32>,
    pub(crate) login: Option<u32>,
}

/// What a server writes beside records.
#[derive(Deserialize)]
struct Beside<'a> {
    log: Option<u32>,
    #[serde(borrow)]
    known: Option<Cow<'a, str>>,
    over: Option<bool>,
    from: Option<u64>,
    to: Option<u64>,
    #[serde(borrow)]
    unreadable: Option<Cow<'a, str>>,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(crate) enum Said<'a> {
    /// A record.
    Record(Box<Line<'a>>),
    /// Nothing of a container: what a server needs for itself.
    Nothing,
    /// So many records a server never had.
    Missing(u64),
    /// It is no record: cut short, or damaged.
    Broken,
}

impl<'a> Said<'a> {
    /// Reads a line, with or without its line feed.
    pub(crate) fn of(line: &'a [u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let enveloped = line.starts_with(b"{\"stream\":") && line.ends_with(b"}}");
        let at = enveloped.then(|| line.windows(ENVELOPE.len()).position(|it| it == ENVELOPE));
        if let Some(at) = at.flatten() {
            return Self::record(&line[at + ENVELOPE.len() - 1..line.len() - 1]);
        }
        match Self::record(line) {
            Self::Broken => Self::beside(line),
            said => said,
        }
    }

    fn record(bytes: &'a [u8]) -> Self {
        match serde_json::from_slice::<Line<'a>>(bytes) {
            Ok(line) if line.record.is_some() || !line.notificate.is_empty() => {
                Self::Record(Box::new(line))
            }
            _ => Self::Broken,
        }
    }

    fn beside(line: &[u8]) -> Self {
        let Ok(beside) = serde_json::from_slice::<Beside<'_>>(line) else { return Self::Broken };
        match beside {
            Beside { log: Some(_), .. } | Beside { known: Some(_), .. } => Self::Nothing,
            Beside { over: Some(true), .. } => Self::Nothing,
            Beside { from: Some(from), to: Some(to), .. } => {
                Self::Missing(to.saturating_sub(from).saturating_add(1))
            }
            Beside { unreadable: Some(_), .. } => Self::Missing(1),
            _ => Self::Broken,
        }
    }
}

/// What a file has for texts is escaped already, or goes through here: it may be anybody's.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(lacre_types::escape(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str =
        r#"{"containerID":"a","notificate":"INVALID_HASH","path":"/x","new":{"y":1}}"#;

    #[test]
    fn a_record_is_read_alone_and_in_a_servers_line() {
        let record = &RECORD.replace(r#","new":{"y":1}"#, "");
        let owner = r#"{"stream":"00","seq":7,"owner":"tls:x","node":"n","received":"t","record":"#;
        for line in [record.clone(), format!("{owner}{record}}}\n")] {
            let Said::Record(read) = Said::of(line.as_bytes()) else { panic!("{line}") };
            assert_eq!((&*read.container, &*read.path), ("a", "/x"));
        }
        assert!(matches!(Said::of(RECORD.as_bytes()), Said::Record(_)), "a field that is new");
    }

    #[test]
    fn what_a_server_writes_for_itself_is_no_broken_record() {
        for (line, said) in [
            (r#"{"log":1,"streams":0,"began":"t"}"#, Said::Nothing),
            (r#"{"known":"00","owner":"o","last":4,"closed":false}"#, Said::Nothing),
            (r#"{"stream":"00","over":true,"owner":"o","received":"t"}"#, Said::Nothing),
            (r#"{"stream":"00","from":3,"to":5,"owner":"o","received":"t"}"#, Said::Missing(3)),
            (r#"{"stream":"00","seq":3,"owner":"o","unreadable":"x"}"#, Said::Missing(1)),
            (r#"{"stream":"00","seq":3,"owner":"o","record":{"containerID"#, Said::Broken),
            (r#"{"cont"#, Said::Broken),
            ("[]", Said::Broken),
            ("", Said::Broken),
            ("\u{1b}[2J", Said::Broken),
        ] {
            assert_eq!(Said::of(line.as_bytes()), said, "{line}");
        }
    }
}
