//! PAX records, with the values that Go's `archive/tar` takes and refuses.

use std::collections::BTreeMap;

/// One value per key, the last one.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The regions of a sparse file in records of their own (GNU format 0.0) become the one of
/// format 0.1.
const MAP: &[u8] = b"GNU.sparse.map";

/// `LENGTH KEY=VALUE\n`, the length in decimal and of the whole record (pax(1)).
pub(super) fn records(mut bytes: &[u8]) -> Option<Records> {
    let mut records = Records::new();
    let mut map: Vec<Vec<u8>> = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let len = usize::try_from(decimal(&bytes[..space])?).ok().filter(|len| *len >= 5)?;
        let (record, rest) = bytes.split_at_checked(len)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
        if if text { value.contains(&0) } else { key.contains(&0) } {
            return None;
        }
        let place = match key {
            b"GNU.sparse.offset" => Some(0),
            b"GNU.sparse.numbytes" => Some(1),
            _ => None,
        };
        if let Some(place) = place {
            if map.len() % 2 != place || value.contains(&b',') {
                return None;
            }
            map.push(value.to_vec());
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
        bytes = rest;
    }
    if !map.is_empty() {
        records.insert(MAP.to_vec(), map.join(&b','));
    }
    Some(records)
}

/// A record's value; an empty one is none, the header's own holds then.
pub(super) fn value<'a>(records: &'a Records, key: &[u8]) -> Option<&'a [u8]> {
    records.get(key).map(Vec::as_slice).filter(|value| !value.is_empty())
}

/// Digits after a sign or none.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether it is a time: seconds, and a fraction that may be left out.
pub(super) fn is_time(text: &[u8]) -> bool {
    let (seconds, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(point) => (&text[..point], &text[point + 1..]),
        None => (text, &[][..]),
    };
    decimal(seconds).is_some() && fraction.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_line_feeds() {
        let records = records(b"13 path=a\nb/\n9 size=7\n").unwrap();
        assert_eq!(value(&records, b"path"), Some(&b"a\nb/"[..]));
        assert_eq!(value(&records, b"size"), Some(&b"7"[..]));
    }

    #[test]
    fn broken_records_are_refused() {
        let broken =
            [&b"x"[..], b"99 a=b\n", b"0 a=b\n", b"5 a=b\n", b"7 path\n", b"2 a=b\n", b"5 =b\n"];
        for bytes in broken {
            assert_eq!(records(bytes), None, "{}", lacre_types::escape(bytes));
        }
    }

    #[test]
    fn times_are_those_of_go() {
        for (text, is) in [
            ("1", true),
            ("-1.5", true),
            ("+1.", true),
            ("1.5e3", false),
            ("", false),
            (".5", false),
            ("1.-5", false),
        ] {
            assert_eq!(is_time(text.as_bytes()), is, "{text}");
        }
    }
}
