//! Names from outside that become names of files.

use std::fmt::Write as _;

/// A name from outside as the name of a file: letters, digits, `-`, `_` and dots that do
/// not lead stay, everything else is `%` and two hex digits. Different names stay different.
pub(crate) fn file_name(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            b'.' if at > 0 => safe.push('.'),
            _ => {
                let _ = write!(safe, "%{byte:02x}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_directory() {
        assert_eq!(file_name("k8s.io"), "k8s.io");
        assert_eq!(file_name("../x"), "%2e.%2fx");
        assert_eq!(file_name("a\0b"), "a%00b");
        assert_eq!(file_name(""), "");
    }
}
