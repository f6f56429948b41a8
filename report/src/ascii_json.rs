//! How a record becomes a line that any terminal shows as it is.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// JSON in printable ASCII: whatever a name from outside holds, a line on a terminal
/// neither reorders nor hides text, and reads back as it was.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices() {
            if c.is_ascii() && c != '\x7f' {
                continue;
            }
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }
}

/// One line, without its line feed. `None` only for types that JSON cannot hold, which a
/// record is not.
pub(crate) fn line(value: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(512);
    value.serialize(&mut Serializer::with_formatter(&mut line, Ascii)).ok()?;
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_is_printable_and_reads_back(text in any::<String>()) {
            let line = line(&text).unwrap();
            prop_assert!(line.iter().all(|byte| (0x20..0x7f).contains(byte)));
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }
    }
}
