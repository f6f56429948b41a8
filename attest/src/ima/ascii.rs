//! `ascii_runtime_measurements`.

use super::entry::{Entry, EntryError, MAX_DATA, MAX_NAME};
use super::template::{self, Shape};
use crate::pcr;

/// Reads lines, and holds the bytes that they stand for until the next one.
///
/// A name with a line feed in it cannot be told from two lines: the binary list has no
/// such trouble, and is the one to use as evidence.
#[derive(Debug, Default)]
pub struct Ascii {
    digest: Vec<u8>,
    data: Vec<u8>,
}

impl Ascii {
    /// The entry of a line, given without its line feed.
    ///
    /// # Errors
    /// When it is not a line as the kernel prints it.
    pub fn line<'a>(&'a mut self, line: &'a [u8]) -> Result<Entry<'a>, EntryError> {
        self.digest.clear();
        self.data.clear();
        let line = line.trim_ascii_start();
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let mut word = |what| words.next().ok_or(EntryError::Text(what));
        let pcr = number(word("PCR")?, EntryError::Text("PCR"))?;
        let pcr = u32::try_from(pcr).unwrap_or(u32::MAX);
        if pcr >= pcr::COUNT {
            return Err(EntryError::Pcr(pcr));
        }
        unhex(word("template digest")?, &mut self.digest)
            .ok_or(EntryError::Text("template digest"))?;
        let template = word("template name")?;
        if template.len() > MAX_NAME {
            let len = template.len();
            return Err(EntryError::Length { what: "template name", len, max: MAX_NAME });
        }
        let text = word("fields")?;
        let rebuilt = match template::format(template) {
            Some(format) => self.fields(template, format, text)?,
            None => false,
        };
        if self.data.len() > MAX_DATA {
            let len = self.data.len();
            return Err(EntryError::Length { what: "template data", len, max: MAX_DATA });
        }
        let data = rebuilt.then_some(self.data.as_slice());
        Ok(Entry { pcr, logged: &self.digest, template, data, big_endian: false })
    }

    /// Whether the fields could be turned back into template data.
    fn fields(&mut self, template: &[u8], format: &str, text: &[u8]) -> Result<bool, EntryError> {
        let mut values = text.split(|byte| *byte == b' ');
        for field in format.split('|') {
            let value = values.next().ok_or(EntryError::Text("field"))?;
            let at = self.data.len();
            let old = template == b"ima";
            // The length of each field stands before it, but for the digest of `ima`.
            if !(old && field == "d") {
                self.data.extend_from_slice(&[0; 4]);
            }
            let start = self.data.len();
            let known = match template::shape(field) {
                Some(Shape::Sha1) => {
                    unhex(value, &mut self.data).filter(|()| self.data.len() - start == 20)
                }
                Some(Shape::Digest) => digest(value, &mut self.data),
                Some(Shape::Text) => {
                    self.data.extend_from_slice(value);
                    if !old {
                        self.data.push(0);
                    }
                    Some(())
                }
                Some(Shape::Hex) => unhex(value, &mut self.data),
                Some(Shape::Number(len)) => {
                    let number = number(value, EntryError::Text("number"))?;
                    self.data.extend_from_slice(&number.to_le_bytes()[..len]);
                    Some(())
                }
                Some(Shape::Opaque) | None => return Ok(false),
            };
            known.ok_or(EntryError::Text("field"))?;
            if start > at {
                let len = self.data.len() - start;
                let max = if old { MAX_NAME } else { MAX_DATA };
                if len > max {
                    return Err(EntryError::Length { what: "field", len, max });
                }
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                self.data[at..start].copy_from_slice(&len.to_le_bytes());
            }
        }
        if values.next().is_some() {
            return Err(EntryError::Text("last field"));
        }
        Ok(true)
    }
}

fn number(text: &[u8], error: EntryError) -> Result<u64, EntryError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(error)
}

/// `ALGORITHM:HEX` becomes `ALGORITHM:`, NUL, bytes; nothing stays nothing.
fn digest(text: &[u8], into: &mut Vec<u8>) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) => {
            into.extend_from_slice(&text[..=colon]);
            into.push(0);
            unhex(&text[colon + 1..], into)
        }
        // Printed without a name, it has none (`ima_show_template_data_ascii`).
        None => {
            into.extend_from_slice(b":\0");
            unhex(text, into)
        }
    }
}

fn unhex(text: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = text.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    into.reserve(pairs.len());
    for [high, low] in pairs {
        into.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Some(())
}
